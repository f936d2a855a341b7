"""Notice that no worker is running. Every API process checks, and one of them sends the notice."""

from __future__ import annotations

import time
from collections.abc import Callable

from pool.alerting import rules
from pool.alerting.webhook import Notifier
from pool.store import Store

WATCH_SECONDS = 10.0


class WorkerWatch:
    """Reports workers that do not sweep, and sends the notices that they would have sent."""

    def __init__(
        self,
        notifier: Notifier | None,
        store: Store,
        sweep_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notifier = notifier
        self._store = store
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._started = clock()

    async def look(self) -> None:
        """Check once. Raise StoreUnavailable."""
        notifier, store = self._notifier, self._store
        if notifier is None:
            return
        heartbeat_ms = await store.last_heartbeat_ms()
        # Without a heartbeat, count from the start of this process: workers may start later.
        last = self._started if heartbeat_ms is None else heartbeat_ms / 1000
        now_ms = round(self._clock() * 1000)
        outbox = await store.alerts.look(now_ms)
        silent = max(0.0, self._clock() - last)
        reading = rules.worker(silent, self._sweep_seconds)
        notices = await store.alerts.observe(outbox, [reading], now_ms)
        if (notices or outbox.due) and reading.sign != "over":
            await notifier.deliver()
