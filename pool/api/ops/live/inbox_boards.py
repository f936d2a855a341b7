"""Render the inbox's changing parts, every few seconds for all pages that show the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from pool.api.ops.frame.rendering import fragment
from pool.api.ops.live.boards import Board
from pool.api.ops.session.sessions import Session
from pool.api.service import Service
from pool.errors import LedgerError
from pool.ledger.inbox_search import REPLAY_MOST
from pool.ledger.records import EventState
from pool.operations.hook_health import hooks_of, refused_lately
from pool.operations.inbox_selection import PAGE_EVENTS, InboxSelection
from pool.operations.snapshot import Snapshot
from pool.operations.timelines import how_matched
from pool.store.ending import end_tasks

log = structlog.get_logger()

EVERY_SECONDS = 2.0
PATIENCE_SECONDS = 0.5
_KEPT = 64  # selections
_COUNTED = (EventState.PENDING, EventState.UNMATCHED, EventState.DEAD)  # others are too many
_Key = tuple[InboxSelection, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class InboxParts:
    """One reading of the inbox, as HTML."""

    parts: dict[str, str]
    rows: dict[str, str]
    matching: int  # at most one more than REPLAY_MOST
    dead: int | None  # in all; None for somebody who sees some meetings only


class InboxBoards:
    """The inbox as its open pages show it.

    A page waits for the ledger for a moment only: it shows the last reading until there is a
    newer one, and its frame says if the ledger is silent.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._known: dict[_Key, tuple[float, InboxParts]] = {}
        self._reading: dict[_Key, asyncio.Task[None]] = {}

    async def board(
        self, snapshot: Snapshot, frame: Board, selection: InboxSelection, session: Session
    ) -> Board:
        """Return the board of a page at this moment, on the frame that its viewer sees."""
        key = (selection, session.caller.meetings)
        known = self._known.get(key)
        if key not in self._reading and (
            known is None or self._clock() - known[0] >= EVERY_SECONDS
        ):
            self._reading[key] = asyncio.create_task(self._refresh(key, session))
        if key in self._reading:
            await asyncio.wait({self._reading[key]}, timeout=PATIENCE_SECONDS)
        if key not in self._known:
            unread = {"instead": fragment("inbox/unread.html")}
            return Board(snapshot, frame.alarm, frame.parts | unread)
        found = self._known[key][1]
        return Board(snapshot, frame.alarm, frame.parts | found.parts, found.rows)

    async def read(self, selection: InboxSelection, session: Session) -> InboxParts:
        """Return a reading made now. Raise LedgerUnavailable."""
        key = (selection, session.caller.meetings)
        found = await self._read(selection, session)
        self._known.pop(key, None)
        self._known[key] = self._clock(), found
        if len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return found

    def forget(self) -> None:
        """Have the next board read anew, because an action changed the inbox."""
        self._known = {key: (0.0, found) for key, (_, found) in self._known.items()}

    async def close(self) -> None:
        """End what is under way."""
        await end_tasks(list(self._reading.values()))

    async def _refresh(self, key: _Key, session: Session) -> None:
        try:
            await self.read(key[0], session)
        except LedgerError:
            pass  # the frame says that the ledger is silent
        except Exception:
            log.exception("inbox not read")
        finally:
            del self._reading[key]

    async def _read(self, selection: InboxSelection, session: Session) -> InboxParts:
        ledger, among = self._service.parts.ledger, session.caller.meetings
        sought = selection.sought(datetime.now(UTC))
        search = ledger.inbox_search
        events = await search.page(
            sought, among, limit=PAGE_EVENTS + 1, offset=(selection.page - 1) * PAGE_EVENTS
        )
        matching = await search.count(sought, among, most=REPLAY_MOST)
        everywhere = among is None
        counts = {each: await ledger.inbox.count(each) for each in _COUNTED} if everywhere else {}
        hooks = await hooks_of(ledger, self._service.parts.providers) if everywhere else []
        values = {
            "selection": selection,
            "states": list(EventState),
            "counts": counts,
            "matching": matching,
            "most": REPLAY_MOST,
            "more": len(events) > PAGE_EVENTS,
            "nothing_found": not events,
        }
        names = [hook.workspace for hook in hooks]
        refused = await refused_lately(self._service.parts.store, names) or {}
        parts = {
            name: fragment(f"inbox/{name}.html", **values)
            for name in ("tabs", "matching", "instead", "pages")
        }
        for hook in hooks:
            parts[f"hook-{hook.workspace}"] = fragment(
                "inbox/hook.html", hook=hook, refused=refused.get(hook.workspace), **values
            )
        # Providers seldom name the meeting; the link that a booking was matched to does.
        slugs = [event.slug for event in events if event.slug]
        sids = {link.slug: link.meeting_sid for link in await ledger.links.find(slugs)}
        rows = {
            event.id: fragment(
                "inbox/row.html",
                event=event,
                how_matched=how_matched,
                sid=event.meeting_sid or sids.get(event.slug or ""),
            )
            for event in events[:PAGE_EVENTS]
        }
        return InboxParts(parts, rows, matching, counts.get(EventState.DEAD))
