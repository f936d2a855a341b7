"""Find processes that a test started, or that those started, in /proc.

Tests look for them again and again while they wait: this reads as little as will do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """A process that has not ended."""

    pid: int
    parent: int
    command: str


def processes(environ: bytes, place: str, *, but: frozenset[int]) -> Iterator[Found]:
    """Yield the processes whose environment contains this, or that work in this place or below it.

    `but` names those that are left out.
    """
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - see above
        entry = f"/proc/{pid}"
        try:
            # Redis writes its title over its environment; it is known by where it works.
            if int(pid) in but or (
                environ not in _bytes(f"{entry}/environ") + b"\0"
                and not os.readlink(f"{entry}/cwd").startswith(place)  # noqa: PTH115
            ):
                continue
            state, parent = _bytes(f"{entry}/stat").decode().rpartition(")")[2].split()[:2]
            command = _bytes(f"{entry}/cmdline").replace(b"\0", b" ").decode()
        except OSError:
            continue
        if state != "Z":
            yield Found(int(pid), int(parent), command)


def _bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see above
        return file.readall()
