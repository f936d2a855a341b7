"""`linkpool status`: how the pools are, once or live."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.common import AsJson, DataDir, print_json, run, settings_for
from pool.compose import Parts, compose
from pool.errors import LedgerError, LinkpoolError
from pool.status import MeetingStatus, statuses, urgency

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {
    "ok": "green", "low": "yellow", "paused": "yellow",
    "empty": "red", "blocked": "red", "recovering": "red",
}  # fmt: skip
_BAR_CELLS = 12
WATCH_SECONDS = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show changes live.")] = False,
    as_json_: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """How every pool is: level, target, claim rate, runway, state with its reason."""
    settings = settings_for(data_dir)

    async def work() -> None:
        async with compose(settings) as parts:
            if as_json_:
                found, notes = await _read(parts)
                print_json({"meetings": [as_json(each) for each in found], "notes": notes})
            elif watch:
                await _watch(parts)
            else:
                found, notes = await _read(parts)
                print_statuses(found, notes)

    run(work)


async def _read(parts: Parts) -> tuple[list[MeetingStatus], list[str]]:
    notes = []
    try:
        meetings = await parts.ledger.meetings.all()
        found = await statuses(parts.store, parts.ledger, meetings) if meetings else []
    except LedgerError as error:
        notes.append(f"database: {error}")
        found = await statuses(parts.store, None, await parts.store.published.all())
    heartbeat = await parts.store.last_heartbeat_ms()
    if heartbeat is None:
        notes.append("no worker has swept yet; is `linkpool worker` running, and beat?")
    else:
        notes.append(f"last sweep of a worker {max(0.0, time.time() - heartbeat / 1000):.0f} s ago")
    found.sort(key=urgency)
    return found, notes


async def _watch(parts: Parts) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4, screen=False) as live:
        while True:
            try:
                found, notes = await _read(parts)
                notes.append(time.strftime("as of %H:%M:%S; Ctrl-C ends this"))
                live.update(_render(found, notes))
            except LinkpoolError as error:
                live.update(Text(f"{error}; trying again every second", style="red"))
            await asyncio.sleep(WATCH_SECONDS)


def print_statuses(found: list[MeetingStatus], notes: list[str] | None = None) -> None:
    """Prints the table."""
    from rich.console import Console

    Console().print(_render(found, notes or []))


def _render(found: list[MeetingStatus], notes: list[str]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("Meeting", "State", "Level", "Fresh", "Target", "Claims/s", "Runway",
                 "Claimed", "Consumed", "Why"):  # fmt: skip
        numeric = name in ("Fresh", "Target", "Claims/s", "Runway", "Claimed", "Consumed")
        table.add_column(name, justify="right" if numeric else "left")
    for each in found:
        style = _STYLES[each.state]
        table.add_row(
            Text(each.meeting.sid),
            Text(each.state, style=style),
            Text(_bar(each.fresh, each.target), style=style),
            str(each.fresh),
            str(each.target),
            f"{each.claims_per_second:.1f}",
            "-" if each.runway_seconds is None else f"{each.runway_seconds:.0f} s",
            str(each.claimed),
            str(each.consumed),
            Text(each.reason),
        )
    if not found:
        return Group(Text("No meetings yet; `linkpool meetings add SID` adds one."))
    return Group(table, *(Text(note, style="dim") for note in notes))


def _bar(fresh: int, target: int) -> str:
    full = round(_BAR_CELLS * min(1.0, fresh / target)) if target else _BAR_CELLS
    return "█" * full + "░" * (_BAR_CELLS - full)


def as_json(each: MeetingStatus) -> dict[str, Any]:
    """One status for other programs."""
    return asdict(each.meeting) | {
        "state": each.state,
        "reason": each.reason,
        "fresh": each.fresh,
        "target": each.target,
        "claimed": each.claimed,
        "consumed": each.consumed,
        "claims_per_second": round(each.claims_per_second, 3),
        "runway_seconds": each.runway_seconds,
        "runway_low_seconds": each.forecast.runway_low_seconds,
        "runway_high_seconds": each.forecast.runway_high_seconds,
        "suggested_target": each.forecast.suggested_target,
        "oldest_fresh_seconds": each.oldest_fresh_seconds,
        "unrecorded_claims": each.unrecorded,
    }
