"""Read the state of pools and workspaces, once for all viewers, and only while there are any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import structlog

from pool.claims.known_meetings import KnownMeetings
from pool.config.settings import Settings
from pool.errors import StoreError
from pool.model.meetings import Meeting
from pool.operations.snapshot import Snapshot, WorkspaceHealth
from pool.operations.status import MeetingStatus, statuses, urgency
from pool.store import Store
from pool.store.ending import end_tasks

log = structlog.get_logger()

EVERY_SECONDS = 2.0
# With very many meetings a reading is costly, so it is made less often.
_MEETINGS_PER_SECOND = 250
# Claims wait while a pipeline's answers are parsed, so meetings are read in batches.
_AT_ONCE = 100


class Reader:
    """Makes readings while anybody follows them, shared by all pages of a process."""

    def __init__(
        self,
        store: Store,
        known_meetings: KnownMeetings,
        settings: Settings,
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._store = store
        self._known_meetings = known_meetings
        self._settings = settings
        self._every_seconds = every_seconds
        self._followers = 0
        self._closed = False
        self._latest: Snapshot | None = None
        self._read_at = 0.0
        self._forgotten = False
        self._news = asyncio.Event()
        self._reading = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self.rests_seconds = 0.0  # the least time between readings that followers get

    @property
    def recent(self) -> Snapshot | None:
        """Return the latest reading if it is from just now, without asking anybody."""
        latest = self._latest
        if latest is None or time.monotonic() - self._read_at > 3 * latest.every_seconds:
            return None
        return latest

    def forget(self) -> None:
        """Have `latest` read anew, because an action has changed the pools."""
        self._forgotten = True  # also what is being read at this moment

    async def latest(self) -> Snapshot:
        """Return the latest reading, renewed if it is older than its `every_seconds`."""
        async with self._reading:  # concurrent callers get the same one
            latest = self._latest
            old = latest is None or time.monotonic() - self._read_at >= latest.every_seconds
            if latest is None or old or self._forgotten:
                self._forgotten = False
                latest = await self._read()
                self._latest, self._read_at = latest, time.monotonic()
                self._announce()
            return latest

    async def follow(self) -> AsyncIterator[Snapshot]:
        """Yield readings as they are made, the first at once. End when `stop` is called."""
        self._followers += 1
        try:
            if self._loop is None or self._loop.done():
                self._loop = asyncio.create_task(self._go_on())
            snapshot = await self.latest()
            while not self._closed:
                yield snapshot
                news = self._news
                if self._latest is snapshot:
                    await news.wait()
                snapshot = self._latest or snapshot
        finally:
            self._followers -= 1

    def stop(self) -> None:
        """End every `follow`, for good."""
        self._closed = True
        self._announce()

    async def close(self) -> None:
        """Stop, and wait for readings under way."""
        self.stop()
        await end_tasks([self._loop] if self._loop is not None else [])

    async def _go_on(self) -> None:
        while self._followers and not self._closed:
            try:
                latest = await self.latest()
                due = self._read_at + max(latest.every_seconds, self.rests_seconds)
            except Exception:
                log.exception("the page's reading failed")
                due = time.monotonic() + self._every_seconds
            await asyncio.sleep(max(0.05, due - time.monotonic()))

    def _announce(self) -> None:
        waited_for, self._news = self._news, asyncio.Event()
        waited_for.set()

    async def _read(self) -> Snapshot:
        meetings = self._known_meetings.all()
        every = max(self._every_seconds, len(meetings) / _MEETINGS_PER_SECOND)
        try:
            heartbeat = await self._store.last_heartbeat_ms()
            workspaces = [await self._workspace(name) for name in self._settings.workspaces]
            found = sorted(await self._statuses(meetings), key=urgency)
        except StoreError as error:
            return Snapshot(datetime.now(UTC), every, store_problem=str(error))
        return Snapshot(
            at=datetime.now(UTC),
            every_seconds=every,
            found=tuple(found),
            heartbeat_at_ms=heartbeat,
            workspaces=tuple(workspaces),
        )

    async def _statuses(self, meetings: list[Meeting]) -> list[MeetingStatus]:
        found: list[MeetingStatus] = []
        for start in range(0, len(meetings), _AT_ONCE):
            found += await statuses(self._store, None, meetings[start : start + _AT_ONCE])
        return found

    async def _workspace(self, name: str) -> WorkspaceHealth:
        return WorkspaceHealth(
            name, await self._store.budget.rate(name), await self._store.blocks.of_workspace(name)
        )
