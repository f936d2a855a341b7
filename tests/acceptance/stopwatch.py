"""Measure how long a product takes, without the time for which a busy machine let it wait.

A promise of some seconds is one about linkpool, not about what else its machine does. Linux
counts how long each thread was ready to run and had no processor (`/proc/…/schedstat`, the second
number, in nanoseconds): on a machine that has nothing else to do that is next to nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path


class Stopwatch:
    """Runs from the start on. `pids` names the processes that are waited for."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._waited = self._waits()
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds until now in which none of the threads waited for a processor."""
        took = time.monotonic() - self._started
        waits = self._waits().items()
        return took - sum(waited - self._waited.get(thread, 0.0) for thread, waited in waits)

    def _waits(self) -> dict[Path, float]:
        """Return how long each thread has waited, this process's among them."""
        found = {}
        for pid in {os.getpid(), *self._pids()}:
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    found[thread] = int(thread.read_text().split()[1]) / 1e9
                except OSError:  # it has ended
                    continue
        return found
