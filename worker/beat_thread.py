"""Run beat in a thread of a worker's first process: `linkpool up` has one process less.

The schedule depends neither on the worker's children nor on the loop that hands out tasks: beat
has a connection of its own. It lives as long as the worker's first process, which the supervisor
starts again.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import structlog
from celery import Celery
from celery.beat import Scheduler, Service

from pool.config.settings import Settings
from worker.app import schedule_of

log = structlog.get_logger()

_PAUSE_SECONDS = 1.0  # before it begins anew
# A fork waits this long for beat to come to rest. Beat may wait much longer for its broker.
_FORK_WAITS_SECONDS = 1.0


class BeatThread:
    """Sends what is due until the process ends, whatever fails."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._service: Service | None = None
        self._sending = threading.Lock()
        self._held_by_fork = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread. Calling it again changes nothing."""
        if self._service is not None:
            return
        self._service = self._new_service()
        # A child that is forked in the middle of a message would inherit a lock that nobody frees.
        os.register_at_fork(
            before=self._hold, after_in_parent=self._let_go, after_in_child=self._let_go
        )
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def take(self, settings: Settings) -> None:
        """Go on with the schedule of these settings. Safe to call in a signal's handler."""
        self._app.conf.beat_schedule = schedule_of(settings)
        if self._service is not None:
            self._service.stop()

    def end(self) -> None:
        """Send nothing more, once what is being sent now is sent."""
        self._ended.set()
        if self._service is not None:
            self._service.stop()

    def _run(self) -> None:
        self._app.set_current()
        while not self._ended.is_set():
            try:
                assert self._service is not None  # noqa: S101 - `start` made it
                self._service.start()
            except Exception:  # whatever it was, the pools need the next sweep
                log.exception("beat failed and begins anew")
            self._service = self._new_service()
            self._ended.wait(_PAUSE_SECONDS)

    def _new_service(self) -> Service:
        def scheduler(**arguments: Any) -> Scheduler:
            return _Scheduler(self._sending, **arguments)

        return Service(self._app, scheduler_cls=scheduler, remote_control=False)

    def _hold(self) -> None:
        self._held_by_fork = self._sending.acquire(timeout=_FORK_WAITS_SECONDS)

    def _let_go(self) -> None:
        if self._held_by_fork:
            self._held_by_fork = False
            self._sending.release()


class _Scheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Holds a lock while it sends."""

    def __init__(self, sending: threading.Lock, **arguments: Any) -> None:
        self._sending = sending
        super().__init__(**arguments)

    def tick(self, *arguments: Any, **more: Any) -> Any:
        with self._sending:
            return super().tick(*arguments, **more)
