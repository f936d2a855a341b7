"""Hold the parts of the page that each API process keeps."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pool.api.background import repeat
from pool.api.ops.live.beat import Live
from pool.api.ops.live.boards import Board, Boards, frame_of
from pool.api.ops.live.history_boards import HistoryBoards
from pool.api.ops.live.inbox_boards import InboxBoards
from pool.api.ops.live.latest_incidents import LatestIncidents
from pool.api.ops.live.meeting_boards import MeetingBoards
from pool.api.ops.live.offers import Lists
from pool.api.ops.live.pasts import Pasts
from pool.api.ops.session.endings import Endings
from pool.api.ops.session.sessions import Session, Sessions
from pool.api.service import Service
from pool.config.addresses import secret_key
from pool.errors import LinkpoolError
from pool.operations.incident_notes import IncidentNotes
from pool.operations.reader import Reader
from pool.operations.trends import Trends
from pool.operations.vitals_watch import VitalsWatch
from pool.store.ending import end_tasks

ENDINGS_SECONDS = 2.0
NOTES_SECONDS = 1.0
_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Ops:
    """The page's parts that outlive a request."""

    sessions: Sessions
    live: Live
    boards: Boards
    meeting_boards: MeetingBoards
    history_boards: HistoryBoards
    pasts: Pasts
    lists: Lists
    inbox_boards: InboxBoards

    def frame(self, session: Session) -> Board:
        """Return the parts that every page shows, from memory."""
        return frame_of(self.live.known, session)


@asynccontextmanager
async def open_ops(service: Service) -> AsyncIterator[Ops]:
    """Open the page of this process. Its streams end as soon as a signal stops the process."""
    parts, settings = service.parts, service.settings
    reader = Reader(parts.store, service.known_meetings, settings)
    endings = Endings(parts.ledger)
    with suppress(LinkpoolError):
        await endings.refresh()
    vitals = VitalsWatch(parts.store, parts.ledger, settings.sweep_seconds)
    notes = IncidentNotes(parts.ledger)
    live = Live(reader, vitals)
    latest = LatestIncidents(parts.ledger)
    trends, pasts = Trends(parts.store), Pasts(parts.store, parts.ledger)
    ops = Ops(
        Sessions(service.keys, secret_key(settings), endings),
        live,
        Boards(trends, settings.sweep_seconds, latest),
        MeetingBoards(pasts, trends),
        HistoryBoards(pasts),
        pasts,
        Lists(),
        InboxBoards(service),
    )
    await vitals.step()
    background = [
        asyncio.create_task(repeat("sessions", ENDINGS_SECONDS, endings.refresh)),
        asyncio.create_task(repeat("vitals", vitals.every_seconds, vitals.step)),
        asyncio.create_task(repeat("incidents", NOTES_SECONDS, lambda: notes.note(vitals.latest))),
    ]
    try:
        with _on_stop_signal(live.stop):
            yield ops
    finally:
        await end_tasks(background)
        await ops.lists.close()
        await latest.close()
        await ops.meeting_boards.unhurried.close()
        await ops.history_boards.unhurried.close()
        await live.close()
        await ops.inbox_boards.close()
        await vitals.close()


@contextmanager
def _on_stop_signal(react: Callable[[], None]) -> Iterator[None]:
    """Call `react` on the event loop when a signal asks this process to stop.

    The server waits for responses under way before it notifies the application, and a stream
    never ends by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in _STOPS}

    def handle(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(react)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for each in _STOPS:
        signal.signal(each, handle)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is handle:
                signal.signal(each, handler)
