"""Keep the meetings in an API process's memory, so that a claim needs no look-up."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from pool.errors import LedgerError, StoreError, UnknownMeeting
from pool.ledger import Ledger
from pool.ledger.deadline import within
from pool.model.meetings import Meeting
from pool.store import Store

log = structlog.get_logger()

_FORGET_UNKNOWN_SECONDS = 1.0
_UNKNOWN_KEPT = 10_000


class KnownMeetings:
    """Meetings in memory, read from Redis, or from the ledger where Redis has none.

    Call `refresh` about once a second. What was known stays known while both are away.
    """

    def __init__(
        self, store: Store, ledger: Ledger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._meetings: dict[str, Meeting] = {}
        self.spread: dict[str, Meeting] = {}  # meetings with several shards; usually none
        self._unknown: dict[str, float] = {}
        self._version: int | None = None

    def get(self, sid: str) -> Meeting | None:
        """Return the meeting if it is in memory, without I/O, and None otherwise."""
        return self._meetings.get(sid)

    def all(self) -> list[Meeting]:
        """Return every meeting in memory, in order of SID."""
        return [self._meetings[sid] for sid in sorted(self._meetings)]

    async def find(self, sid: str) -> Meeting:
        """Return the meeting, from the ledger if it is not in memory.

        Raise UnknownMeeting or LedgerUnavailable.
        """
        meeting = self._meetings.get(sid)
        if meeting is not None:
            return meeting
        now = self._clock()
        if self._unknown.get(sid, 0.0) < now:
            try:
                with within():  # claims bypass the framework, which bounds other requests
                    meeting = await self._ledger.meetings.get(sid)
            except LedgerError:
                # Redis has a copy of all meetings. If we have read it, the meeting does not exist.
                if not self._version:
                    raise
            if meeting is not None:
                self.put(meeting)
                return meeting
            if len(self._unknown) >= _UNKNOWN_KEPT:
                self._unknown.clear()
            self._unknown[sid] = now + _FORGET_UNKNOWN_SECONDS
        raise UnknownMeeting(f"there is no meeting {sid}; add it with PUT /v1/meetings/{sid}")

    async def latest(self, sid: str) -> Meeting:
        """Return the meeting with what another process has just changed.

        This asks Redis, so claims use `find`. Raise what `find` raises.
        """
        await self.refresh()
        return await self.find(sid)

    def put(self, meeting: Meeting) -> None:
        """Keep a meeting as it is now."""
        self._meetings[meeting.sid] = meeting
        if meeting.shards > 1:
            self.spread[meeting.sid] = meeting
        else:
            self.spread.pop(meeting.sid, None)

    async def refresh(self) -> None:
        """Read the meetings again if they changed. Never raise: what was known stays."""
        try:
            version = await self._store.published.version()
            if version and version != self._version:
                for meeting in await self._store.published.all():
                    self.put(meeting)
                self._version = version
        except StoreError as error:
            log.warning("meetings not refreshed", reason=str(error))
        if not self._meetings:
            try:
                for meeting in await self._ledger.meetings.all():
                    self.put(meeting)
            except LedgerError as error:
                log.warning("meetings not read from the ledger", reason=str(error))
