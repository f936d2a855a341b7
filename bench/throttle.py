"""Give a process a share of one core, so that there is room for others on a small machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

_PERIOD_SECONDS = 0.02


class Throttle:
    """Stops and continues processes in turns, a part of each fiftieth of a second each.

    No two of them run at the same moment unless their shares ask for more than there is time.
    """

    def __init__(self, pids: Sequence[int], share: float) -> None:
        self._pids = list(pids)
        self._share = share
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(pid, number / len(pids)), daemon=True)
            for number, pid in enumerate(self._pids)
        ]

    def __enter__(self) -> Throttle:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, pid: int, phase: float) -> None:
        with suppress(ProcessLookupError):
            time.sleep(phase * _PERIOD_SECONDS)
            while not self._ending.is_set():
                os.kill(pid, signal.SIGCONT)
                time.sleep(_PERIOD_SECONDS * self._share)
                os.kill(pid, signal.SIGSTOP)
                self._ending.wait(_PERIOD_SECONDS * (1 - self._share))
            os.kill(pid, signal.SIGCONT)
