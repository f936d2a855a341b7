"""Show every pool, once or live: `linkpool status`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.common import FAILED, AsJson, DataDir, fail, on_parts, run, settings_for
from pool.cli.printing import print_json
from pool.config.addresses import redis_url
from pool.config.settings import Settings
from pool.errors import LedgerError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pool.compose import Parts
    from pool.operations.status import MeetingStatus

_WIDE_COLUMNS = 110  # of a terminal that has room for all columns
_BESIDE_SID_COLUMNS = 66
_BAR_CELLS = 12


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show changes live.")] = False,
    as_json_: AsJson = False,
    max_age: Annotated[
        float | None,
        typer.Option(
            "--max-age",
            min=0,
            metavar="SECONDS",
            help="Only check that a worker has run within this time; exit 1 if not.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Show every pool: links kept ready, how fast they go and how long they last, and its state."""
    settings = settings_for(data_dir)
    if max_age is not None:
        run(lambda: _check_age(settings, max_age))
        return

    if watch and not as_json_:
        from pool.cli.watch import watch as watch_live

        on_parts(settings, watch_live)
        return
    found, notes = on_parts(settings, _read)
    if as_json_:
        print_json({"meetings": [each.facts() for each in found], "notes": notes})
    else:
        print_statuses(found, notes)


async def _check_age(settings: Settings, max_age_seconds: float) -> None:
    """Check the last sweep, for health checks of worker and beat: only Redis is asked.

    The code that reads pools and ledger is not even imported, which would take longer than the
    check.
    """
    from pool.store import Store

    # The heartbeat's key is no customer's, so the secret key is not needed.
    store = Store.open(redis_url(settings), b"")
    try:
        heartbeat = await store.last_heartbeat_ms()
    finally:
        await store.close()
    if heartbeat is None:
        fail("no worker has run yet", FAILED)
    age_seconds = max(0.0, time.time() - heartbeat / 1000)
    said = f"a worker last ran {age_seconds:.0f} s ago"
    if age_seconds > max_age_seconds:
        fail(said, FAILED)
    sys.stdout.write(said + "\n")


async def _read(parts: Parts) -> tuple[list[MeetingStatus], list[str]]:
    from pool.operations.status import statuses, urgency

    notes = []
    try:
        meetings = await parts.ledger.meetings.all()
        found = await statuses(parts.store, parts.ledger, meetings) if meetings else []
    except LedgerError as error:
        notes.append(f"database: {error}")
        found = await statuses(parts.store, None, await parts.store.published.all())
    heartbeat = await parts.store.last_heartbeat_ms()
    if heartbeat is None:
        notes.append("no worker has run yet; are `linkpool worker` and `linkpool beat` running?")
    else:
        notes.append(f"a worker last ran {max(0.0, time.time() - heartbeat / 1000):.0f} s ago")
    found.sort(key=urgency)
    return found, notes


def print_statuses(found: list[MeetingStatus], notes: list[str] | None = None) -> None:
    """Print the table; where a terminal is too narrow for it, two lines for each pool.

    Other commands ask for SIDs, so these are never cut.
    """
    from rich.console import Console

    console = Console()
    longest = max((len(each.meeting.sid) for each in found), default=0)
    width = max(console.width, longest + _BESIDE_SID_COLUMNS)
    if found and width > console.width and (console.is_terminal or "COLUMNS" in os.environ):
        _print_narrow(console, found, notes or [])
        return
    drawn = _render(found, notes or [], wide=console.width >= _WIDE_COLUMNS)
    Console(width=width).print(drawn, soft_wrap=False)


def _print_narrow(console: Console, found: list[MeetingStatus], notes: list[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from pool.cli.screen import STATE_STYLES
    from pool.operations.words import rate_words, runway_words

    for each in found:
        console.print(Text(each.meeting.sid, "bold"), soft_wrap=True)
        runway = runway_words(each.runway_seconds)
        words = [f"{each.fresh} of {each.target} links", f"{rate_words(each.claims_per_second)}"]
        words += [f"runway {runway}"] if each.runway_seconds is not None else []
        rest = ", ".join([*words, *([each.reason] if each.reason else [])])
        line = Text.assemble((each.state, STATE_STYLES[each.state]), f"  {rest}")
        console.print(Padding(line, (0, 0, 0, 2)))
    for note in notes:
        console.print(Text(note, style="dim"))


def _render(found: list[MeetingStatus], notes: list[str], *, wide: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from pool.cli.screen import STATE_STYLES, bar
    from pool.operations.words import runway_words

    if not found:
        return Group(Text("No meetings yet; `linkpool meetings add SID` adds one."))
    table = Table()
    table.add_column("Meeting", no_wrap=True)
    table.add_column("State", no_wrap=True)
    if wide:
        table.add_column("Level", no_wrap=True)
    for name in ("Fresh", "Target", "Claims/s", "Runway"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("Claimed", justify="right", no_wrap=True)
        table.add_column("Consumed", justify="right", no_wrap=True)
    table.add_column("Why")
    for each in found:
        style = STATE_STYLES[each.state]
        cells: list[RenderableType] = [Text(each.meeting.sid), Text(each.state, style=style)]
        if wide:
            cells.append(bar(each.fresh, each.target, _BAR_CELLS, style))
        cells += [
            str(each.fresh),
            str(each.target),
            f"{each.claims_per_second:.1f}",
            runway_words(each.runway_seconds),
        ]
        if wide:
            cells += [str(each.claimed), str(each.consumed)]
        table.add_row(*cells, Text(each.reason))
    return Group(table, *(Text(note, style="dim") for note in notes))
