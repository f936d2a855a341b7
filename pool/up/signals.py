"""Turn Ctrl-C, SIGTERM and the end of the terminal into a request to stop."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any] | int


class StopRequest:
    """A context in which these signals only set `requested`; a second one changes nothing.

    Enter it in the main thread, where Python handles signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> StopRequest:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup asks for this
            before = signal.signal(number, self._handle)
            self._before[number] = signal.SIG_DFL if before is None else before
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float, or_until: Iterable[int] = ()) -> bool:
        """Wait this long, until a stop is requested, or until one of these files is readable.

        Return True if a stop is requested.
        """
        if not self.requested:
            # A sleep would go on after the handler ran; a readable pipe ends the wait.
            select.select([self._read, *or_until], [], [], seconds)
        return self.requested

    def _handle(self, *_: object) -> None:
        self.requested = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"x")
