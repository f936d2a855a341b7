"""A wall clock for the parts of a stage that can be set while they run."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("shifted_clock.c")


def compiler() -> str | None:
    """A C compiler, which it takes; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc")


class Clock:
    """The clock of what is started within `worn()`; that of this process stands apart."""

    def __init__(self, directory: Path) -> None:
        self._library = directory / "shifted_clock.so"
        command = [compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", str(self._library)]
        subprocess.run([*command, str(_SOURCE)], check=True, timeout=60)
        self._path = directory / "clock"
        self._path.write_bytes(struct.pack("q", 0))
        self.ahead_seconds = 0

    def set(self, ahead_seconds: int) -> None:
        """So far ahead of the true time (less than 0: behind) it is from now on."""
        self.ahead_seconds = ahead_seconds
        with self._path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:] = struct.pack("q", ahead_seconds)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Processes that are started within run by this clock."""
        ours = {"LD_PRELOAD": str(self._library), "SHIFTED_CLOCK": str(self._path)}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name in ours:
                del os.environ[name]
