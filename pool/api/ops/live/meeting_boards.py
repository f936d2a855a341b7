"""Render the changing parts of a meeting's page, once per moment for all pages that show it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pool.api.ops.charts.compose import charts
from pool.api.ops.charts.earlier import Before, Earlier
from pool.api.ops.charts.windows import Window
from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.boards import Board
from pool.api.ops.live.drawings import Drawings
from pool.api.ops.live.pasts import Past, Pasts
from pool.api.ops.live.unhurried import Unhurried
from pool.operations.advice import meanings
from pool.operations.explain import explain, standing_of
from pool.operations.since import since_of
from pool.operations.snapshot import Snapshot
from pool.operations.status import MeetingStatus
from pool.operations.trends import Trends
from pool.operations.words import duration_words, range_words


class MeetingBoards:
    """The boards of the meetings that are being viewed."""

    def __init__(self, pasts: Pasts, trends: Trends) -> None:
        self.unhurried = Unhurried(pasts)
        self._trends = trends
        self._snapshot: Snapshot | None = None
        self._boards: dict[tuple[str, str, tuple[Earlier, ...], int], Board] = {}
        self._drawings: Drawings[str] = Drawings()
        self._making = asyncio.Lock()

    async def board(
        self,
        snapshot: Snapshot,
        frame: Board,
        sid: str,
        window: Window,
        compared: tuple[Earlier, ...] = (),
    ) -> Board:
        """Return a meeting's board at this moment, on the frame that its viewer sees."""
        async with self._making:
            if snapshot is not self._snapshot:
                self._snapshot, self._boards = snapshot, {}
            key = (sid, window.name, compared, frame.number)
            if key not in self._boards:
                self._boards[key] = await self._make(snapshot, frame, sid, window, compared)
            return self._boards[key]

    async def parts(
        self,
        status: MeetingStatus,
        window: Window,
        past: Past | None,
        before: Sequence[Before] = (),
    ) -> dict[str, str]:
        """Return the changing parts of a meeting's page."""
        sid = status.meeting.sid
        standing = standing_of(status, past.incidents if past else None)
        visitors = (await self._trends.visitors([sid]))[sid]
        values: dict[str, Any] = {
            "pool": status,
            "why": explain(status, visitors.turned_away if visitors else 0),
            "standing": standing,
            "since": since_of(status, standing, past.series if past else None),
            "visitors": visitors,
            "span_words": span_words,
            "meanings": meanings(status.meeting, status.claims_per_second, status.fresh),
        }
        parts = {
            name: fragment(f"meeting/{name}.html", **values)
            for name in ("state", "why", "now", "meanings")
        }
        return parts | {"charts": self._charts(status, window, past, before)}

    async def _make(
        self,
        snapshot: Snapshot,
        frame: Board,
        sid: str,
        window: Window,
        compared: tuple[Earlier, ...],
    ) -> Board:
        status = next((each for each in snapshot.found if each.meeting.sid == sid), None)
        if status is None:
            # Nothing is known of the meeting now, and the page says so.
            parts = {"state": fragment("meeting/unknown.html")} if snapshot.store_problem else {}
            return replace(frame, parts=frame.parts | parts)
        past, before = await self.unhurried.of(sid, window, compared)
        parts = await self.parts(status, window, past, before)
        if past is None:
            del parts["charts"]  # the page keeps those that it has
        return replace(
            frame,
            parts=frame.parts | parts,
            states={sid: status.state},
        )

    def _charts(
        self, status: MeetingStatus, window: Window, past: Past | None, before: Sequence[Before]
    ) -> str:
        """Return the charts, drawn again only when there is something new to draw."""
        if past is None:
            return fragment("meeting/charts.html", charts=())
        level = (status.fresh, status.target)

        def draw() -> str:
            found = charts(
                past.series,
                window,
                counted=past.counted,
                incidents=past.incidents or (),
                now=None if status.state == "recovering" else level,
                before=before,
            )
            return fragment("meeting/charts.html", charts=found)

        return self._drawings.of(status.meeting.sid, window, past, before, draw)


def span_words(low_seconds: float, high_seconds: float | None) -> str:
    """Return a range of time in words: 4 to 9 min. None stands for more than a day."""
    if high_seconds is None:
        return f"{duration_words(low_seconds)} to over a day"
    return range_words(low_seconds, high_seconds)
