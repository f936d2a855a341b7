"""Make Redis forget its last writes, as a machine that loses power does.

kill -9 alone loses nothing that Redis wrote to its append-only file, since the kernel still has it.
So the lengths of the file are noted over time, and it is cut back to one of them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

_EVERY_SECONDS = 0.02
_KEPT_SECONDS = 90.0


class Forgetting:
    """Watches the append-only file below a directory, of one part or of several."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lengths: deque[tuple[float, Path, int]] = deque()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="forgetting", daemon=True)
        self._thread.start()

    def forget(self, seconds: float) -> float:
        """Cut the file of a stopped Redis to its length of this many seconds ago.

        Return the real number of seconds: a file that was rewritten since is only cut to its
        beginning.
        """
        with self._lock:
            return self._forget(seconds)

    def _forget(self, seconds: float) -> float:
        now = time.monotonic()
        path = self._newest()
        if path is None:
            return 0.0
        held = [(at, length) for at, of, length in self._lengths if of == path]
        older = [(at, length) for at, length in held if at <= now - seconds]
        at, length = older[-1] if older else held[0] if held else (now, path.stat().st_size)
        os.truncate(path, min(length, path.stat().st_size))
        self._lengths = deque(
            each for each in self._lengths if each[1] != path or each[2] <= length
        )
        return now - at

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join(1)

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            with self._lock, suppress(OSError):
                self._look()

    def _look(self) -> None:
        path = self._newest()
        if path is not None:
            now = time.monotonic()
            self._lengths.append((now, path, path.stat().st_size))
            while self._lengths[0][0] < now - _KEPT_SECONDS:
                self._lengths.popleft()

    def _newest(self) -> Path | None:
        """Return the part that is being written: before Redis 7 there is only one."""
        found = [
            *self._directory.glob("appendonlydir/*.incr.aof"),
            self._directory / "appendonly.aof",
        ]
        there = [path for path in found if path.exists()]
        return max(there, key=_number, default=None)


def _number(path: Path) -> int:
    part = path.name.split(".")[-3:-2]
    return int(part[0]) if part and part[0].isdigit() else 0
