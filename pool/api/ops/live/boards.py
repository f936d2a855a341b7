"""Render the changing parts of pages, once per moment for all pages that show the same."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.latest_incidents import LatestIncidents
from pool.api.ops.session.sessions import Session
from pool.model.incidents import What
from pool.model.outcomes import webhooks_of
from pool.operations import summary
from pool.operations.selection import Selected, Selection, select
from pool.operations.snapshot import Snapshot
from pool.operations.status import MeetingStatus, PoolState
from pool.operations.summary import Alarm
from pool.operations.tiles import tiles_of, visitors, with_refused_webhooks
from pool.operations.trends import Trends

_Seen = frozenset[str] | None
_numbers = itertools.count(1)  # of boards
GLANCE = -1  # instead of the number of a board shown before
SAID_ONCE = 3  # a reason shared by this many pools is shown once, above the list


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """One moment as one view shows it, as HTML."""

    snapshot: Snapshot
    alarm: Alarm
    parts: dict[str, str]  # by the id of the element they fill
    rows: dict[str, str] = field(default_factory=dict)  # by SID, in the order shown
    states: dict[str, PoolState] = field(default_factory=dict)
    # A copy that `replace` makes gets its own.
    number: int = field(init=False, default_factory=lambda: next(_numbers))
    _messages: dict[int, bytes] = field(init=False, default_factory=dict)  # by the board before

    @property
    def silent(self) -> list[str]:
        """Return the parts that are silent."""
        vitals = self.snapshot.vitals
        return [each.what.value for each in vitals.troubles] if vitals else []

    @property
    def is_stale(self) -> bool:
        """Return True if what is known of the pools is not of now."""
        return bool(self.snapshot.store_problem or self.snapshot.late_seconds)

    def glance(self) -> bytes:
        """Return what a page that nobody sees needs, for its title and icon: JSON in one line."""
        if GLANCE not in self._messages:
            self._messages[GLANCE] = msgspec.json.encode({"quiet": True} | self._always())
        return self._messages[GLANCE]

    def message_after(self, shown: Board | None) -> bytes:
        """Return what a page that shows `shown` (None: nothing) needs to show this board.

        The result is JSON in one line. It is made once for all pages that show the same.
        """
        before = shown.number if shown else 0
        if before not in self._messages:
            old_parts, old_rows = (shown.parts, shown.rows) if shown else ({}, {})
            self._messages[before] = msgspec.json.encode(
                self._always()
                | {
                    "parts": _changed(old_parts, self.parts),
                    "order": list(self.rows),
                    "rows": _changed(old_rows, self.rows),
                    "states": self.states,
                }
            )
        return self._messages[before]

    def _always(self) -> dict[str, Any]:
        return {
            "at_ms": round(self.snapshot.at.timestamp() * 1000),
            "every_seconds": self.snapshot.every_seconds,
            "silent": self.silent,
            "stale": self.is_stale,
            "alarm": {"level": self.alarm.level, "words": self.alarm.words},
        }


class Boards:
    """The boards of the latest moment."""

    def __init__(
        self, trends: Trends, sweep_seconds: float, latest: LatestIncidents | None = None
    ) -> None:
        self._trends = trends
        self._latest = latest
        self._sweep_seconds = sweep_seconds
        self._snapshot: Snapshot | None = None
        self._found: tuple[MeetingStatus, ...] | None = None
        self._boards: dict[tuple[Selection, _Seen], Board] = {}
        self._framed: Snapshot | None = None
        self._frames: dict[_Seen, Board] = {}
        self._rows: dict[str, str] = {}
        self._said_once: dict[str, int] = {}
        self._making = asyncio.Lock()

    async def board(self, snapshot: Snapshot, selection: Selection, session: Session) -> Board:
        """Return the overview of this selection, with the meetings that the session may see."""
        async with self._making:
            self._begin(snapshot)
            key = (selection, session.caller.meetings)
            if key not in self._boards:
                self._boards[key] = await self._overview(snapshot, selection, session)
            return self._boards[key]

    def frame(self, snapshot: Snapshot, session: Session) -> Board:
        """Return what every view shows: the alarm, and which parts are silent.

        It waits for nothing, as a board may that asks a part which has just become silent.
        """
        if snapshot is not self._framed:
            self._framed, self._frames = snapshot, {}
        seen_meetings = session.caller.meetings
        if seen_meetings not in self._frames:
            self._frames[seen_meetings] = frame_of(snapshot, session)
        return self._frames[seen_meetings]

    def _begin(self, snapshot: Snapshot) -> None:
        if snapshot is not self._snapshot:
            self._snapshot, self._boards = snapshot, {}
        if snapshot.found is not self._found:  # rows change with the reading only
            self._found, self._rows = snapshot.found, {}
            # A low pool's reason is a measurement of its own, that others share by chance.
            counts = Counter(
                each.reason for each in snapshot.found if each.reason and each.state != "low"
            )
            self._said_once = {
                reason: count for reason, count in counts.items() if count >= SAID_ONCE
            }

    async def _overview(self, snapshot: Snapshot, selection: Selection, session: Session) -> Board:
        found = seen(snapshot, session)
        everywhere = session.caller.meetings is None
        selected = select(selection, found)
        await self._draw(selected, several=len({each.meeting.workspace for each in found}) > 1)
        if selection.workspace:
            snapshot, found = of_workspace(snapshot, found, selection.workspace)
        lag = sum(each.unrecorded for each in found)
        tiles = tiles_of(snapshot, lag, self._sweep_seconds, everywhere=everywhere)
        if not snapshot.store_problem:
            whole = everywhere and not selection.workspace
            hour = await self._trends.last_hour(
                None if whole else [each.meeting.sid for each in found]
            )
            if everywhere:
                name = selection.workspace
                hooks = await self._trends.last_hour([webhooks_of(name)]) if name else hour
                tiles[-1] = with_refused_webhooks(tiles[-1], hooks)
            tiles.insert(0, visitors(hour))
        level, sentence = summary.lead(snapshot, found, tiles)
        values: dict[str, Any] = {
            "snapshot": snapshot,
            "selected": selected,
            "place": "/ops",
            "lead_level": level,
            "lead": sentence,
            "tiles": tiles,
            "shared": self._shared(selected),
            "incidents": await self._latest.of(session) if self._latest else [],
            "now": snapshot.at,
        }
        names = (
            "lead",
            "tiles",
            "workspaces",
            "filters",
            "shared",
            "instead",
            "pages",
            "incidents",
        )
        parts = {name: fragment(f"overview/{name}.html", **values) for name in names}
        return Board(
            snapshot,
            summary.alarm(snapshot, found),
            parts | {"banner": banner(snapshot)},
            {each.meeting.sid: self._rows[each.meeting.sid] for each in selected.rows},
            {each.meeting.sid: each.state for each in selected.rows},
        )

    def _shared(self, selected: Selected) -> list[tuple[str, int]]:
        """Return the reasons that many of the shown pools share, with the number of pools."""
        counts = Counter(each.reason for each in selected.rows)
        return [(reason, counts[reason]) for reason in self._said_once if counts[reason]]

    async def _draw(self, selected: Selected, *, several: bool) -> None:
        rows = [each for each in selected.rows if each.meeting.sid not in self._rows]
        sids = [each.meeting.sid for each in rows]
        trends, visitors = await self._trends.of(sids), await self._trends.visitors(sids)
        for each in rows:
            sid = each.meeting.sid
            self._rows[sid] = fragment(
                "overview/row.html",
                status=each,
                spark=trends[sid],
                visitors=visitors[sid],
                workspace=each.meeting.workspace if several else "",
                reason="" if each.reason in self._said_once else each.reason,
            )


def seen(snapshot: Snapshot, session: Session) -> list[MeetingStatus]:
    """Return the pools that the session may see."""
    return [each for each in snapshot.found if session.sees(each.meeting.sid)]


def of_workspace(
    snapshot: Snapshot, found: list[MeetingStatus], workspace: str
) -> tuple[Snapshot, list[MeetingStatus]]:
    """Return the troubles that concern one workspace. Silent parts concern all."""
    only = tuple(each for each in snapshot.workspaces if each.name == workspace)
    mine = [each for each in found if each.meeting.workspace == workspace]
    return replace(snapshot, workspaces=only), mine


def frame_of(snapshot: Snapshot, session: Session) -> Board:
    """Return the board with nothing but what every view shows."""
    alarm = summary.alarm(snapshot, seen(snapshot, session))
    return Board(snapshot, alarm, {"banner": banner(snapshot)})


def banner(snapshot: Snapshot) -> str:
    """Return the silent parts, since when and why, and ended troubles with their cost."""
    vitals = snapshot.vitals
    return fragment(
        "banner.html",
        troubles=[(each, vitals.turned_away_since(each)) for each in vitals.troubles]
        if vitals
        else [],
        redis_silent=vitals is not None and vitals.trouble(What.REDIS) is not None,
        over=vitals.over if vitals else (),
    )


def _changed(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    return {name: html for name, html in new.items() if old.get(name) != html}
