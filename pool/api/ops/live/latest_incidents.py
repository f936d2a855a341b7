"""Read the latest incidents for the overview, every few seconds for all pages together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from pool.api.ops.session.sessions import Session
from pool.errors import LedgerError
from pool.ledger import Ledger
from pool.model.incidents import Incident, What, together
from pool.store.ending import end_tasks

SHOWN = 5
_READ = 60  # of which many may be about one event, or not for this viewer
# What stands comes first, however much has happened since; a pause is somebody's wish.
_FIRST = tuple(each for each in What if each is not What.PAUSE)
KEPT_SECONDS = 2.0
PATIENCE_SECONDS = 0.3  # a page that shows pools does not wait for a slow ledger


class LatestIncidents:
    """The latest incidents, as they were last read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._found: list[Incident] = []
        self._began = -KEPT_SECONDS
        self._reading: asyncio.Task[None] | None = None

    async def of(self, session: Session) -> list[Incident]:
        """Return those that concern this viewer, the ones that stand first.

        The result is the last known while the ledger is silent.
        """
        now = time.monotonic()
        is_over = self._reading is None or self._reading.done()
        if is_over and now - self._began >= KEPT_SECONDS:
            self._began, self._reading = now, asyncio.create_task(self._read())
        if self._reading is not None:
            patience = max(0.0, self._began + PATIENCE_SECONDS - now)
            await asyncio.wait({self._reading}, timeout=patience)
        found = together(visible(self._found, session))
        stands = [each for each in found if each.ended_at is None and each.what in _FIRST]
        return [*stands, *(each for each in found if each not in stands)][:SHOWN]

    async def close(self) -> None:
        """End the reading that is under way."""
        if self._reading is not None:
            await end_tasks([self._reading])

    async def _read(self) -> None:
        try:
            latest = await self._ledger.incidents.latest(_READ)
            # One provider that does not answer may be followed by a thousand pools that ran dry.
            standing = await self._ledger.incidents.standing(_FIRST)
        except LedgerError:
            return  # the banner says that it does not answer
        found = {each.id: each for each in (*latest, *standing)}.values()
        self._found = sorted(found, key=lambda each: each.began_at, reverse=True)


def visible(found: Sequence[Incident], session: Session) -> list[Incident]:
    """Return the incidents about meetings that the session may see."""
    return [
        each for each in found if each.sids is None or any(session.sees(sid) for sid in each.sids)
    ]
