"""Keep running, for all tests of a share, the things that take long to start.

A fixture of the session's scope would run on beside the tests of other shares until the very end:
an idle product still sweeps, beats and is watched.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """The things that the tests of one share have started, by name."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        self._open = ExitStack()

    def __call__(self, name: str, start: Callable[[], AbstractContextManager[T]]) -> T:
        """Return what runs by this name. Start it if it does not yet."""
        if name not in self._found:
            self._found[name] = self._open.enter_context(start())
        found: T = self._found[name]
        return found

    def end(self) -> None:
        """End everything in the reverse order of its start."""
        self._found.clear()
        self._open.close()
