"""End a worker in time after it was asked to stop, though one of its processes hangs.

Celery waits for its children without a bound, and enforces no time limit meanwhile. Kubernetes,
systemd and Compose kill a worker after 30 s, with nothing in its log that says why.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, NoReturn

import structlog

PATIENCE_SECONDS = 25.0


def end_in_time(patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Kill the children and exit that long after a stop was asked for, if the worker still runs.

    A task that is cut off is run again: messages are acknowledged late.
    """
    from celery.signals import worker_shutting_down

    def begin(**_: Any) -> None:
        waiting = threading.Thread(target=_end, args=(patience_seconds,), name="end", daemon=True)
        waiting.start()

    worker_shutting_down.connect(begin, weak=False)


def _end(patience_seconds: float) -> NoReturn:
    from billiard import active_children

    time.sleep(patience_seconds)
    hung = [child.pid for child in active_children()]
    structlog.get_logger().warning(
        "processes that did not end in time are killed", processes=hung, seconds=patience_seconds
    )
    for pid in hung:
        os.kill(pid, signal.SIGKILL)
    # The first process may itself hang, in a lock that a child held.
    os._exit(os.EX_TEMPFAIL)
