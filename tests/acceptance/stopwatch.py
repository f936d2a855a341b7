"""Measure how long a product takes, without the time for which a busy machine let it wait.

A promise of some seconds is one about linkpool, not about what else its machine does. Linux
counts how long each thread has run, and how long it was ready to run and had no processor
(`/proc/…/schedstat`, in nanoseconds): on a machine that has nothing else to do the latter is next
to nothing. When several threads wait at once, their waits add up to more than was lost; so no
greater part of the time is left out than they waited of the time that they had something to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path


class Stopwatch:
    """A stopwatch that runs from the start. `pids` names the processes whose work is waited for."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._before = self._counts()
        self._seen: dict[Path, tuple[float, float]] = {}
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds until now, without those for which threads had no processor."""
        took = time.monotonic() - self._started
        ran = waited = 0.0
        self.look()
        for thread, (running, waiting) in self._seen.items():
            ran_before, waited_before = self._before.get(thread, (0.0, 0.0))
            ran += running - ran_before
            waited += waiting - waited_before
        return took - min(waited, took * waited / (ran + waited)) if waited else took

    def look(self) -> None:
        """Note how long the threads have run and waited, those for whose end the caller waits."""
        self._seen |= self._counts()

    def _counts(self) -> dict[Path, tuple[float, float]]:
        """Return the seconds for which each thread ran and waited, this process's among them."""
        found = {}
        for pid in {os.getpid(), *self._pids()}:
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    ran, waited, _ = thread.read_text().split()
                except OSError:  # it has ended
                    continue
                found[thread] = int(ran) / 1e9, int(waited) / 1e9
        return found
