"""Send hints to the workers, without waiting for the broker.

A hint makes something happen sooner; the sweep makes it happen anyway. Hints that cannot be
sent are dropped.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import structlog

from pool.config.sentinel import is_sentinel, parse_sentinel

log = structlog.get_logger()

# Task names, as workers register them.
TOP_UP = "linkpool.top_up"
RECORD = "linkpool.record"
SETTLE = "linkpool.settle"
RECOVER = "linkpool.recover"
NOTIFY = "linkpool.notify"

QUEUE = "linkpool"
EXPIRES_SECONDS = 30  # by then, sweeps have done what an older hint asks for
_SPACING_SECONDS = 0.5  # between two equal hints
_WAITING_LIMIT = 1000
# Tasks that do without arguments for all meetings what they do for one. In each spacing, at most
# _APART hints for single meetings are sent. A hint takes longer to send than a claim to serve:
# with thousands of busy meetings, one hint for all of them is what a process can afford.
_FOR_ALL = {RECORD}
_APART = 16

# when it is due, its number, its key, the hint
_Hint = tuple[float, int, tuple[str, str], "Nudge"]
_order = itertools.count()

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


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """Return Celery's URL and transport options for a broker at `url`. Raise SettingsError."""
    if not is_sentinel(url):
        return url, TRANSPORT_OPTIONS
    celery_url, options = parse_sentinel(url, "LINKPOOL_BROKER_URL").broker()
    return celery_url, TRANSPORT_OPTIONS | options


class Nudge(NamedTuple):
    """One hint."""

    task: str
    arguments: dict[str, Any]
    headers: dict[str, str]  # of the message


class Nudges:
    """Sends hints from a thread of its own. Calls return at once and never raise.

    `headers` is called in the caller's context, for each hint that will be sent.
    """

    def __init__(self, broker_url: str, headers: Callable[[], dict[str, str]] = dict) -> None:
        self._broker_url, self._options = broker(broker_url)
        self._headers = headers
        self._waiting: queue.Queue[_Hint | None] = queue.Queue(_WAITING_LIMIT)
        self._lock = threading.Lock()
        self._pending: set[tuple[str, str]] = set()  # keys of the hints not sent yet
        self._apart: Counter[str] = Counter()  # hints for single meetings in this spacing, by task
        self._apart_until = 0.0
        self._last: dict[tuple[str, str], float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the sending thread."""
        self._thread = threading.Thread(target=self._send_all, name="nudges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, for at most a second, and end the thread."""
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(timeout=1.0)

    def send(self, task: str, **arguments: Any) -> None:
        """Ask a worker to run a task soon, with the same arguments at most twice a second.

        A hint that comes too soon after an equal one is delayed and not dropped: its cause may
        have come after the task looked. Very many hints for one task become one for all meetings.
        """
        key = (task, repr(arguments))
        now = time.monotonic()
        with self._lock:
            if key in self._pending:
                return
            if task in _FOR_ALL and not self._may_stand_apart(task, now):
                arguments, key = {}, (task, "{}")
                if key in self._pending:
                    return
            if len(self._last) > 10 * _WAITING_LIMIT:
                self._last.clear()
            due = max(now, self._last.get(key, -_SPACING_SECONDS) + _SPACING_SECONDS)
            try:
                nudge = Nudge(task, arguments, self._headers())
                self._waiting.put_nowait((due, next(_order), key, nudge))
            except queue.Full:
                log.warning("hint dropped: the broker does not keep up", task=task)
                return
            self._pending.add(key)

    def _may_stand_apart(self, task: str, now: float) -> bool:
        if now >= self._apart_until:
            self._apart_until = now + _SPACING_SECONDS
            self._apart.clear()
        self._apart[task] += 1
        return self._apart[task] <= _APART

    def _due(self) -> Iterator[Nudge]:
        """Yield each hint when it is due, and all of them at once when the thread ends."""
        later: list[_Hint] = []
        ending = False
        while later or not ending:
            wait = max(0.0, later[0][0] - time.monotonic()) if later else None
            if not ending:
                try:
                    item = self._waiting.get(timeout=wait)
                except queue.Empty:
                    pass
                else:
                    ending = item is None
                    if item is not None:
                        heapq.heappush(later, item)
            if later and (ending or later[0][0] <= time.monotonic()):
                _, _, key, nudge = heapq.heappop(later)
                with self._lock:
                    self._pending.discard(key)
                    self._last[key] = time.monotonic()
                yield nudge

    def _send_all(self) -> None:
        # Imported here, in the thread: it takes a second, for which no claim has to wait.
        from celery import Celery

        app = Celery("linkpool-nudges", broker=self._broker_url, set_as_current=False)
        app.conf.update(
            broker_transport_options=self._options | {"socket_timeout": 2},
            broker_connection_timeout=2,
            broker_pool_limit=1,
            task_ignore_result=True,
        )
        for task, arguments, headers in self._due():
            try:
                app.send_task(
                    task,
                    kwargs=arguments,
                    headers=headers,
                    queue=QUEUE,
                    expires=EXPIRES_SECONDS,
                    retry=False,
                    ignore_result=True,
                )
            except Exception as error:  # noqa: BLE001 - a lost hint is not worth a dead thread
                log.warning("hint not sent", task=task, reason=type(error).__name__)
        app.close()
