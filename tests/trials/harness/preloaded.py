"""Change things inside other processes: set their clock, or fill their disk.

A few lines of C are compiled and preloaded into the processes started within `worn()`; they read
one number from a file that both sides have mapped, so that a change takes effect at once.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.trials.harness.lacking import Lacking


def _compiler() -> str:
    """Return a C compiler. Raise Lacking where there is none."""
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        raise Lacking("a C compiler")
    return found


class Preloaded:
    """One library of this directory, and the number that it reads, 0 at first."""

    def __init__(self, directory: Path, source: str, variable: str) -> None:
        self._library = directory / f"{source}.so"
        self._path = directory / f"{source}.number"
        self._path.write_bytes(struct.pack("q", 0))
        self._variable = variable
        self.number = 0
        command = [_compiler(), "-O1", "-shared", "-fPIC", "-o", str(self._library)]
        where = Path(__file__).with_name(f"{source}.c")
        subprocess.run([*command, str(where)], check=True, timeout=60)

    def set(self, number: int) -> None:
        """Set the value, from now on, in every process that wears the switch."""
        self.number = number
        with self._path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:] = struct.pack("q", number)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Preload the library into the processes that are started within the block."""
        ours = {"LD_PRELOAD": str(self._library), self._variable: str(self._path)}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name in ours:
                del os.environ[name]


def clock(directory: Path) -> Preloaded:
    """Return a wall clock: how many seconds it is ahead of the true one."""
    return Preloaded(directory, "shifted_clock", "SHIFTED_CLOCK")


def disk(directory: Path, name: str) -> Preloaded:
    """Return a disk: 1 when it is full. Each `name` is a disk of its own."""
    place = directory / name
    place.mkdir(exist_ok=True)
    return Preloaded(place, "full_disk", "FULL_DISK")
