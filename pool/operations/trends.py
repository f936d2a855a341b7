"""Read the recent past of the pools that are being viewed: sparklines, and what visitors got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from pool.errors import StoreError
from pool.model.outcomes import EVERYWHERE, Outcomes, added
from pool.store import Store
from pool.store.records import Span, Spark

POINTS = 60  # of 10 s each
_KEPT_SECONDS = 5.0  # a new value is written every 10 s
_PATIENCE_SECONDS = 1.0  # after which Redis counts as silent


class Trends:
    """The recent history of pools, read for each at most every few seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[str, tuple[float, Spark, Outcomes | None]] = {}
        self._hours: dict[frozenset[str] | None, tuple[float, Outcomes | None]] = {}
        self._silent_at = -_PATIENCE_SECONDS  # when Redis last gave no answer

    async def of(self, sids: Sequence[str]) -> dict[str, Spark]:
        """Return the last ten minutes of these pools, empty while Redis does not answer."""
        await self._read(sids)
        return {
            sid: self._kept[sid][1] if sid in self._kept else Spark(sid, (), ()) for sid in sids
        }

    async def visitors(self, sids: Sequence[str]) -> dict[str, Outcomes | None]:
        """Return what visitors got in the last ten minutes, None while Redis does not answer."""
        await self._read(sids)
        return {sid: self._kept[sid][2] if sid in self._kept else None for sid in sids}

    async def last_hour(self, sids: Collection[str] | None) -> Outcomes | None:
        """Return what visitors got in the last hour in these pools; None stands for all.

        The result is None while Redis does not answer.
        """
        now = self._clock()
        key = None if sids is None else frozenset(sids)
        self._hours = {
            name: kept for name, kept in self._hours.items() if now - kept[0] < _KEPT_SECONDS
        }
        if key not in self._hours:
            wanted = [EVERYWHERE] if sids is None else sorted(sids)
            if self._was_silent:
                return None
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    pasts = await self._store.tallies.past(wanted, Span.HOUR)
                found = added([past.sum for past in pasts])
            except (StoreError, TimeoutError):
                self._silent_at = self._clock()
                return None
            self._hours[key] = now, found
        return self._hours[key][1]

    @property
    def _was_silent(self) -> bool:
        """Return True if Redis gave no answer a moment ago, so that it is not waited for again."""
        return self._clock() - self._silent_at < _PATIENCE_SECONDS

    async def _read(self, sids: Sequence[str]) -> None:
        now = self._clock()
        self._kept = {
            sid: kept for sid, kept in self._kept.items() if now - kept[0] < _KEPT_SECONDS
        }
        missing = [sid for sid in sids if sid not in self._kept]
        if not missing or self._was_silent:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                sparks = await self._store.history.sparks(missing, points=POINTS)
                pasts = await self._store.tallies.past(missing, Span.HOUR, seconds=10 * POINTS)
        except (StoreError, TimeoutError):
            self._silent_at = self._clock()
            return
        self._kept |= {past.sid: (now, sparks[past.sid], past.sum) for past in pasts}
