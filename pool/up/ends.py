"""Let one of some processes that ends be noticed at once, without asking anybody (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable


class Ends:
    """The ends of some processes. They need not be children of this one."""

    def __init__(self) -> None:
        self.files: list[int] = []  # each is readable once its process has ended

    def watch(self, pids: Iterable[int]) -> bool:
        """Watch these processes instead of those before. Return False if that is not possible.

        It is not where the system has no such files, nor if one of them has ended already.
        """
        self.close()
        try:
            for pid in pids:
                self.files.append(os.pidfd_open(pid))
        except (AttributeError, OSError):  # macOS, an old kernel, or no such process
            return False
        return True

    def close(self) -> None:
        """Watch nothing any more."""
        while self.files:
            os.close(self.files.pop())
