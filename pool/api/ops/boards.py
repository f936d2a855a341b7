"""Render the changing parts of the overview, once per reading for all pages that show them."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pool.api.ops.rendering import fragment
from pool.api.ops.sessions import Session
from pool.operations import summary
from pool.operations.selection import Selected, Selection, select
from pool.operations.snapshot import Snapshot
from pool.operations.status import MeetingStatus, PoolState
from pool.operations.trends import Trends

_Seen = frozenset[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """One reading as one selection shows it, as HTML."""

    snapshot: Snapshot
    parts: dict[str, str]  # by the id of the element they fill
    rows: dict[str, str]  # by SID, in the order shown
    states: dict[str, PoolState]
    number: int = field(default_factory=itertools.count(1).__next__)
    _messages: dict[int, bytes] = field(default_factory=dict)  # by the board shown before

    def message_after(self, shown: Board | None) -> bytes:
        """Return what a page that shows `shown` (None: nothing) needs to show this board.

        The result is JSON in one line. It is made once for all pages that show the same.
        """
        before = shown.number if shown else 0
        if before not in self._messages:
            old_parts, old_rows = (shown.parts, shown.rows) if shown else ({}, {})
            self._messages[before] = msgspec.json.encode(
                {
                    "at_ms": round(self.snapshot.at.timestamp() * 1000),
                    "every_seconds": self.snapshot.every_seconds,
                    "parts": _changed(old_parts, self.parts),
                    "order": list(self.rows),
                    "rows": _changed(old_rows, self.rows),
                    "states": self.states,
                }
            )
        return self._messages[before]


class Boards:
    """The boards of the latest reading."""

    def __init__(self, trends: Trends, sweep_seconds: float) -> None:
        self._trends = trends
        self._sweep_seconds = sweep_seconds
        self._snapshot: Snapshot | None = None
        self._boards: dict[tuple[Selection, _Seen], Board] = {}
        self._rows: dict[str, str] = {}
        self._making = asyncio.Lock()

    async def board(self, snapshot: Snapshot, selection: Selection, session: Session) -> Board:
        """Return the board of this selection, with the meetings that the session may see."""
        seen = session.caller.meetings
        async with self._making:
            if snapshot is not self._snapshot:
                self._snapshot = snapshot
                self._boards, self._rows = {}, {}
            key = (selection, seen)
            if key not in self._boards:
                found = [each for each in snapshot.found if session.sees(each.meeting.sid)]
                self._boards[key] = await self._make(snapshot, selection, found, seen)
            return self._boards[key]

    async def _make(
        self, snapshot: Snapshot, selection: Selection, found: list[MeetingStatus], seen: _Seen
    ) -> Board:
        selected = select(selection, found)
        await self._draw(selected)
        lag = sum(each.unrecorded for each in found)
        tiles = summary.tiles(snapshot, lag, self._sweep_seconds, everywhere=seen is None)
        level, sentence = summary.lead(snapshot, found, tiles)
        values: dict[str, Any] = {
            "snapshot": snapshot,
            "selected": selected,
            "lead_level": level,
            "lead": sentence,
            "tiles": tiles,
        }
        return Board(
            snapshot,
            {
                name: fragment(f"overview/{name}.html", **values)
                for name in ("lead", "tiles", "filters", "instead", "pages")
            },
            {each.meeting.sid: self._rows[each.meeting.sid] for each in selected.rows},
            {each.meeting.sid: each.state for each in selected.rows},
        )

    async def _draw(self, selected: Selected) -> None:
        rows = [each for each in selected.rows if each.meeting.sid not in self._rows]
        trends = await self._trends.of([each.meeting.sid for each in rows])
        for each in rows:
            self._rows[each.meeting.sid] = fragment(
                "overview/row.html", status=each, spark=trends[each.meeting.sid]
            )


def _changed(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    return {name: html for name, html in new.items() if old.get(name) != html}
