"""Know which parts run on a data directory of this host, so that `linkpool reload` reaches them.

Each part keeps a file with its process id, locked while it runs, and writes there the outcome of
the last reload.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

FOLDER = "running"


class Said(msgspec.Struct, frozen=True):
    """The content of a part's file."""

    part: str  # api, worker or beat
    pid: int
    started_at: float
    reloads: int = 0  # that were tried
    problem: str = ""  # the reason why the last one was refused


class Running:
    """The file of this part. It is there until the part ends."""

    def __init__(self, data_dir: Path, part: str) -> None:
        directory = data_dir.absolute() / FOLDER
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._said = Said(part, os.getpid(), time.time())
        self._path = directory / f"{part}-{socket.gethostname()}-{os.getpid()}.json"
        # Held open for the lock. A program that replaces this one does not inherit it.
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self._size_bytes = 0
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write()
        atexit.register(self._end)

    def reloaded(self, problem: str = "") -> None:
        """Say that a reload was made, or why it was refused."""
        said = self._said
        self._said = Said(said.part, said.pid, said.started_at, said.reloads + 1, problem)
        self._write()

    def _write(self) -> None:
        text = msgspec.json.encode(self._said)
        # In one piece, and never shorter than before: somebody may read it at this moment.
        self._size_bytes = max(self._size_bytes, len(text))
        with contextlib.suppress(OSError):
            os.pwrite(self._file.fileno(), text.ljust(self._size_bytes), 0)

    def _end(self) -> None:
        if os.getpid() == self._said.pid:  # not in a child that was forked
            self._path.unlink(missing_ok=True)


def running(data_dir: Path) -> Iterator[Said]:
    """Yield the parts that run on this host, and remove the files of those that were killed."""
    for path in sorted((data_dir / FOLDER).glob(f"*-{socket.gethostname()}-*.json")):
        try:
            with path.open("rb") as file:
                said = msgspec.json.decode(file.read(), type=Said)
                os.kill(said.pid, 0)
                if _is_free(file.fileno()):
                    path.unlink(missing_ok=True)
                    continue
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, msgspec.MsgspecError):
            continue  # it is written at this moment
        else:
            yield said


def _is_free(descriptor: int) -> bool:
    """Return True if nobody holds the file's lock, so that its process id is another's by now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return False
    return True
