"""Tick finer than an event loop's timers, which know whole milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import os
import sys
from collections.abc import Callable


class Ticker:
    """Calls a function every `seconds`: by a timerfd on Linux, else by the loop's own timer."""

    def __init__(self, seconds: float, tick: Callable[[], None]) -> None:
        self._seconds = seconds
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._descriptor = _timerfd(seconds) if sys.platform == "linux" else None
        self._handle: asyncio.TimerHandle | None = None
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._ticked)
        else:
            self._again()

    def close(self) -> None:
        """End it."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        if self._handle is not None:
            self._handle.cancel()

    def _ticked(self) -> None:
        if self._descriptor is not None:
            os.read(self._descriptor, 8)
            self._tick()

    def _again(self) -> None:
        self._handle = self._loop.call_later(self._seconds, self._again)
        self._tick()


def _timerfd(seconds: float) -> int | None:
    nanoseconds = max(1, round(seconds * 1e9))
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        descriptor = int(library.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC))
        # struct itimerspec: interval, then the first time; each of seconds and nanoseconds.
        times = (ctypes.c_long * 4)(whole, rest, whole, rest)
        if descriptor < 0 or library.timerfd_settime(descriptor, 0, times, None) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return descriptor
