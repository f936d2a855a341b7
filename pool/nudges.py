"""Hints to the workers: fire and forget.

A nudge makes something happen sooner; the sweep makes it happen anyway. Nothing here ever
waits for the broker: hints that do not go out are dropped.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import structlog

log = structlog.get_logger()

# Task names, as workers register them.
TOP_UP = "linkpool.top_up"
RECORD = "linkpool.record"
SETTLE = "linkpool.settle"
RECOVER = "linkpool.recover"

QUEUE = "linkpool"
EXPIRES_SECONDS = 30  # a hint older than this has been overtaken by sweeps
_SPACING_SECONDS = 0.5  # the same hint again is only sent after this
_WAITING_LIMIT = 1000

# kombu's Redis transport has no time-outs by default: a half-open connection would hang a
# worker for ever (celery #8030, #10205).
TRANSPORT_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 300,
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "unacked_restore_interval": 10,
    "global_keyprefix": "lp:broker:",
}


class Nudges:
    """Sends hints from a thread of its own; calls return at once and never raise."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._waiting: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_WAITING_LIMIT)
        self._last: dict[tuple[str, str], float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the sending thread."""
        self._thread = threading.Thread(target=self._send_all, name="nudges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Sends what waits, for at most a second, and ends the thread."""
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(timeout=1.0)

    def send(self, task: str, **arguments: Any) -> None:
        """Asks a worker to run a task soon; the same hint at most twice a second."""
        key = (task, repr(arguments))
        now = time.monotonic()
        if self._last.get(key, 0.0) > now - _SPACING_SECONDS:
            return
        if len(self._last) > 10 * _WAITING_LIMIT:
            self._last.clear()
        self._last[key] = now
        try:
            self._waiting.put_nowait((task, arguments))
        except queue.Full:
            log.warning("hint dropped: the broker does not keep up", task=task)

    def _send_all(self) -> None:
        # Here and not above: a second of importing that no claim has to wait for.
        from celery import Celery

        app = Celery("linkpool-nudges", broker=self._broker_url, set_as_current=False)
        app.conf.update(
            broker_transport_options=TRANSPORT_OPTIONS | {"socket_timeout": 2},
            broker_connection_timeout=2,
            broker_pool_limit=1,
            task_ignore_result=True,
        )
        while (item := self._waiting.get()) is not None:
            task, arguments = item
            try:
                app.send_task(
                    task,
                    kwargs=arguments,
                    queue=QUEUE,
                    expires=EXPIRES_SECONDS,
                    retry=False,
                    ignore_result=True,
                )
            except Exception as error:  # noqa: BLE001 - a lost hint is not worth a dead thread
                log.warning("hint not sent", task=task, reason=type(error).__name__)
        app.close()
