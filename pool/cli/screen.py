"""Draw the live status for a terminal: what the operators' page shows, in lines and cells.

A pure function of a snapshot and a size, without I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pool.operations.snapshot import Snapshot
from pool.operations.status import MeetingStatus
from pool.operations.summary import lead
from pool.operations.tiles import Level, Tile, tiles_of
from pool.operations.words import count_words, duration_words, rate_words, runway_words
from pool.store.records import Spark

STATE_STYLES = {
    "ok": "green", "low": "yellow", "paused": "cyan",
    "empty": "bold red", "blocked": "bold red", "recovering": "bold red",
}  # fmt: skip
_LEVEL_STYLES: dict[Level, str] = {
    "ok": "green",
    "low": "yellow",
    "bad": "bold red",
    "unknown": "dim",
}
_MARKS: dict[Level, str] = {"ok": "●", "low": "▲", "bad": "■", "unknown": "?"}
_TICKS = "▁▂▃▄▅▆▇█"
# From this width on there is room for the column.
_TREND_COLUMNS, _TARGET_COLUMNS, _BAR_COLUMNS = 96, 72, 64
_FRAME_LINES = 4  # headline, the table's head, the meetings not shown, and the footer


@dataclass(frozen=True, slots=True)
class View:
    """Everything that one picture shows."""

    snapshot: Snapshot
    sparks: Mapping[str, Spark]
    sweep_seconds: float
    now: datetime


def screen(view: View, columns: int, lines: int) -> RenderableType:
    """Return the picture, with as many meetings as fit, the most urgent first."""
    snapshot = view.snapshot
    lag = sum(each.unrecorded for each in snapshot.found)
    shown = tiles_of(snapshot, lag, view.sweep_seconds, everywhere=True)
    level, sentence = lead(snapshot, snapshot.found, shown)
    headline = Text(no_wrap=True, overflow="ellipsis")
    headline.append(f" {_MARKS[level]} {sentence} ", _LEVEL_STYLES[level] + " reverse")
    parts: list[RenderableType] = [headline, *(_tile(tile) for tile in shown)]
    room = max(1, lines - len(shown) - _FRAME_LINES - 1)
    if snapshot.found:
        parts += ["", _table(view, snapshot.found[:room], columns)]
    elif not snapshot.store_problem:
        parts += ["", Text("No meetings yet; `linkpool meetings add SID` adds one.")]
    if hidden := snapshot.found[room:]:
        parts.append(_others(hidden))
    parts.append(_footer(view))
    return Group(*parts)


def _tile(tile: Tile) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f" {_MARKS[tile.level]} ", _LEVEL_STYLES[tile.level])
    line.append(f"{tile.name:<9}")
    line.append(tile.words, _LEVEL_STYLES[tile.level])
    if tile.detail:
        line.append(f"  {tile.detail}", "dim")
    return line


def _table(view: View, found: Sequence[MeetingStatus], columns: int) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, header_style="dim")
    table.add_column("Meeting", no_wrap=True, overflow="ellipsis", ratio=3, min_width=8)
    table.add_column("State", no_wrap=True)
    if columns >= _BAR_COLUMNS:
        table.add_column("Level", no_wrap=True)
    table.add_column("Fresh", no_wrap=True, justify="right")
    wide = columns >= _TREND_COLUMNS
    if columns >= _TARGET_COLUMNS:
        table.add_column("of", no_wrap=True, justify="right", style="dim")
    table.add_column("Runway", no_wrap=True, justify="right")
    table.add_column("Claims", no_wrap=True, justify="right")
    if wide:
        table.add_column("last 10 min", no_wrap=True)
    table.add_column("Why", no_wrap=True, overflow="ellipsis", ratio=4)
    for each in found:
        style = STATE_STYLES[each.state]
        cells: list[RenderableType] = [Text(each.meeting.sid), Text(each.state, style)]
        if columns >= _BAR_COLUMNS:
            cells.append(bar(each.fresh, each.target, 16 if wide else 8, style))
        cells.append(f"{each.fresh:,}")
        if columns >= _TARGET_COLUMNS:
            cells.append(f"{each.target:,}")
        cells += [Text(runway_words(each.runway_seconds)), rate_words(each.claims_per_second)]
        if wide:
            spark = view.sparks.get(each.meeting.sid)
            cells.append(Text(sparkline(spark.claims_per_second, 20) if spark else "", "blue"))
        table.add_row(*cells, Text(each.reason, "dim"))
    return table


def _others(hidden: Sequence[MeetingStatus]) -> Text:
    troubled = sum(each.state != "ok" for each in hidden)
    words = f" and {count_words(len(hidden), 'more meeting')}"
    if troubled:
        return Text(f"{words}, {troubled:,} of them not ok", "yellow")
    return Text(f"{words}, all ok", "dim")


def _footer(view: View) -> Text:
    age_seconds = max(0.0, (view.now - view.snapshot.at).total_seconds())
    at = view.snapshot.at.astimezone().strftime("%H:%M:%S")
    if age_seconds > 2 * view.snapshot.every_seconds + 2:
        return Text(
            f" As of {at}, {duration_words(age_seconds)} ago: no newer reading. q quits.",
            "bold yellow",
        )
    return Text(f" As of {at}; q quits.", "dim")


def bar(fresh: int, target: int, cells: int, style: str) -> Text:
    """Return the level as a share of the target, drawn to an eighth of a cell."""
    share = min(1.0, fresh / target) if target else 1.0
    eighths = round(8 * cells * share)
    if fresh and not eighths:
        eighths = 1  # a single link must be visible
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text.assemble((drawn, style), ("·" * (cells - len(drawn)), "dim"))


def sparkline(values: Sequence[float | None], cells: int) -> str:
    """Return values from the oldest to the newest as bars, several to a cell if there are many.

    A blank is a time without a sample.
    """
    per_cell = max(1, -(-len(values) // cells))
    start = len(values) % per_cell
    groups = [values[:start]] if start else []
    groups += [values[at : at + per_cell] for at in range(start, len(values), per_cell)]
    known = [[value for value in group if value is not None] for group in groups]
    means = [sum(each) / len(each) if each else None for each in known]
    top = max((mean for mean in means if mean is not None), default=0.0)
    return "".join(
        " " if mean is None else _TICKS[round((len(_TICKS) - 1) * mean / top) if top else 0]
        for mean in means
    )
