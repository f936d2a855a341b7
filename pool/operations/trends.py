"""Read the sparklines' values from the history, for the pools that are being viewed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pool.errors import StoreError
from pool.store import Store
from pool.store.records import Spark

POINTS = 60  # of 10 s each
_KEPT_SECONDS = 5.0  # a new value is written every 10 s


class Trends:
    """The recent history of pools, read for each at most every few seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[str, tuple[float, Spark]] = {}

    async def of(self, sids: Sequence[str]) -> dict[str, Spark]:
        """Return the last ten minutes of these pools, empty while Redis does not answer."""
        now = self._clock()
        self._kept = {
            sid: kept for sid, kept in self._kept.items() if now - kept[0] < _KEPT_SECONDS
        }
        missing = [sid for sid in sids if sid not in self._kept]
        try:
            found = await self._store.history.sparks(missing, points=POINTS)
        except StoreError:
            found = {}
        self._kept |= {sid: (now, spark) for sid, spark in found.items()}
        return {
            sid: self._kept[sid][1] if sid in self._kept else Spark(sid, (), ()) for sid in sids
        }
