"""Read pasts in the background, so that no page stops while the ledger is slow.

A live page that gets nothing for some seconds would wrongly say that it is disconnected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pool.api.ops.charts.earlier import Before, Earlier
from pool.api.ops.charts.windows import Window
from pool.api.ops.live.pasts import Past, Pasts
from pool.errors import LedgerError, StoreError
from pool.store.ending import end_tasks

PATIENCE_SECONDS = 0.3  # enough to read Redis and the ledger when they are well
_STALE_SECONDS = 15.0  # longer than any answer of the ledger takes; by then the page has gone
_KEPT = 100

_Name = tuple[str, str, tuple[Earlier, ...]]
_Found = tuple[Past | None, tuple[Before, ...]]
_NOTHING: _Found = (None, ())


class Unhurried:
    """The pasts of the meetings that are being viewed, each as it was last read."""

    def __init__(self, pasts: Pasts, clock: Callable[[], float] = time.monotonic) -> None:
        self._pasts = pasts
        self._clock = clock
        self._reading: dict[_Name, tuple[float, asyncio.Task[_Found]]] = {}
        self._last: dict[_Name, _Found] = {}

    async def of(self, sid: str, window: Window, compared: tuple[Earlier, ...] = ()) -> _Found:
        """Return the past, and those it is compared with; the last known while they are read.

        The past is None if there is none, or no answer.
        """
        name = (sid, window.name, compared)
        reading = self._reading.get(name)
        if reading is None or reading[0] < self._clock() - _STALE_SECONDS:
            task = asyncio.create_task(self._read(sid, window, compared))
            reading = self._reading[name] = (self._clock(), task)
        began, task = reading
        await asyncio.wait({task}, timeout=max(0.0, began + PATIENCE_SECONDS - self._clock()))
        if not task.done():
            return self._last.get(name, _NOTHING)
        if self._reading.get(name) is reading:  # else another page has taken it away
            del self._reading[name]
        if len(self._last) > _KEPT:
            self._last.clear()
        self._last[name] = task.result()
        return self._last[name]

    async def _read(self, sid: str, window: Window, compared: tuple[Earlier, ...]) -> _Found:
        try:
            past = await self._pasts.of(sid, window)
        except (StoreError, LedgerError):
            return _NOTHING
        return past, await self._pasts.before(sid, window, compared)

    async def close(self) -> None:
        """End the readings that are under way."""
        await end_tasks([task for _, task in self._reading.values()])
