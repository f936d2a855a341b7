"""Let a worker have as many processes as its tasks need, and at least one.

A process takes about 40 MB. Nearly always one is enough, since tasks are done in a few hundredths
of a second; but a top-up or a reconciliation may take half a minute, and claims and bookings must
not wait for it.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery.worker.autoscale import Autoscaler

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 0.5  # a task waits at most this long and one look for a process
REST_SECONDS = 60.0  # until a process that is not needed ends


class Scaler(Autoscaler):  # type: ignore[misc]  # Celery has no types
    """Adds a process when a task has waited for one, and ends one that was long not needed.

    Celery's own adds one for each task that comes while another runs, as at every sweep.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more | {"keepalive": LOOK_SECONDS})
        self._full_since: float | None = None  # when all processes were first seen at work
        self._short_since: float | None = None  # when a task was first seen to wait
        self._needed_at = monotonic()  # when all processes were last at work for a while

    def _maybe_scale(self, req: Any = None) -> bool:  # noqa: ARG002 - Celery's signature
        """Look once: at each message, and every LOOK_SECONDS. Return True if something changed."""
        now, tasks, processes = monotonic(), self.qty, self.processes
        full = tasks >= processes
        short = tasks > processes and processes < self.max_concurrency
        self._full_since = (self._full_since or now) if full else None
        self._short_since = (self._short_since or now) if short else None
        if self._full_since is not None and now - self._full_since >= PATIENCE_SECONDS:
            self._needed_at = now
        if self._short_since is not None and now - self._short_since >= PATIENCE_SECONDS:
            self._short_since = None
            self._grow(1)
            return True
        # Only while none works: a process may have been sent a task that it has not begun.
        rested = now - self._needed_at >= REST_SECONDS
        if rested and tasks == 0 and processes > self.min_concurrency:
            self._needed_at = now
            self._shrink(1)
            return True
        return False

    def _shrink(self, n: int) -> None:
        """End processes that do nothing. They take a second or two to close what they hold."""
        super()._shrink(n)
        pool = self.pool._pool  # Celery has no other way to take a process out of service
        for process in pool._pool:
            if process._controlled_termination:
                # It counts as busy, or a task could be sent to it, and lost with it.
                pool._busy_workers.add(process.inqW_fd)
