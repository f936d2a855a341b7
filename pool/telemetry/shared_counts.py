"""Share counts among the processes of a part, by files in one directory of the part.

Each running part has a directory of its own below `metrics` in the data directory, named after the
part, its host and its port: two APIs on one data directory count apart. Where another part shows
the counts, as the API does for workers without a port, the directory is named after the host alone.
A running part touches the file `alive` in its directory; a directory that was not touched for an
hour is no longer in use, and is removed.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pool.errors import SettingsError
from pool.telemetry.carried_counts import fold

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
TOUCH_SECONDS = 10.0
ALIVE_SECONDS = 45.0  # since the last touch
STALE_SECONDS = 3_600.0
TIDY_SECONDS = 60.0
LOCKED_SECONDS = 2.0  # the longest wait for a lock

_ALIVE = "alive"
_SHOWN_BY_API = "worker-"  # the names of directories whose counts the API shows
_ENDED = "worker-ended"  # keeps the counts of workers whose host is gone


def share_metrics(data_dir: Path, part: str, port: int | None = None) -> Path:
    """Let all processes of a part count into files of one directory, and return it.

    Counts continue from those of earlier processes. Must run once, in the part's first process,
    before prometheus_client is first imported. Raise SettingsError if the data directory cannot
    be made or written.
    """
    # Process ids repeat from container to container, host names do not.
    own = part != "api" and port is not None
    name = f"{'own-' if own else ''}{part}-{socket.gethostname()}{f'-{port}' if port else ''}"
    directory = data_dir.absolute() / "metrics" / name
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.environ[MULTIPROC_DIR] = str(directory)
        touch(directory)
        carry_over(directory)
        tidy(directory)
    except OSError as error:
        raise SettingsError(
            "LINKPOOL_DATA_DIR", f"cannot be written: {directory}: {error.strerror}"
        ) from None
    _keep_alive(directory)
    return directory


def carry_over(directory: Path) -> None:
    """Move the counts of ended processes into one file per kind, so that files stay few."""
    with _locked(directory, fcntl.LOCK_EX) as alone:
        if not alone:
            return  # the next time will do
        fold([path for path in directory.glob("*.db") if not _lives(path)], directory)


def tidy(own: Path) -> None:
    """Remove the directories that no part uses any more; keep what workers in them counted."""
    with _locked(own.parent, fcntl.LOCK_EX) as alone:
        if not alone:
            return
        for directory in own.parent.iterdir():
            if directory in (own, own.parent / _ENDED) or not _is_stale(directory):
                continue
            if directory.name.startswith(_SHOWN_BY_API):
                ended = own.parent / _ENDED
                ended.mkdir(exist_ok=True)
                fold([*directory.glob("*.db")], ended)
            shutil.rmtree(directory, ignore_errors=True)


def counted(own: Path) -> Iterable[Metric]:
    """Return the counts in a part's own directory, each process's once.

    The first of the APIs on a data directory adds those of the workers that have no port.
    """
    from prometheus_client.multiprocess import MultiProcessCollector

    where = [own]
    if own.name.startswith("api-") and _is_first(own):
        where += sorted(own.parent.glob(f"{_SHOWN_BY_API}*"))
    with contextlib.ExitStack() as stack:
        for directory in (own.parent, *where):
            stack.enter_context(_locked(directory, fcntl.LOCK_SH))
        files = [str(path) for directory in where for path in directory.glob("*.db")]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return list(merged)


def exposed(metrics: Iterable[Metric]) -> bytes:
    """Return metrics as Prometheus reads them."""
    from prometheus_client import generate_latest
    from prometheus_client.registry import Collector

    class Ready(Collector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    return generate_latest(Ready())


def own_directory() -> Path | None:
    """Return the directory of this part, None where counts are not shared."""
    path = os.environ.get(MULTIPROC_DIR)
    return Path(path) if path else None


def touch(directory: Path) -> None:
    """Note that a part runs which uses this directory."""
    (directory / _ALIVE).touch()


def _keep_alive(directory: Path) -> None:
    """Touch the directory and carry over what ended, until this process ends."""
    process = os.getpid()

    def work() -> None:
        tidied = time.monotonic()
        while True:
            time.sleep(TOUCH_SECONDS)
            with contextlib.suppress(OSError):
                touch(directory)
                if time.monotonic() - tidied >= TIDY_SECONDS:
                    tidied = time.monotonic()
                    carry_over(directory)
                    tidy(directory)

    def end() -> None:
        if os.getpid() == process:  # not in a child that was forked
            (directory / _ALIVE).unlink(missing_ok=True)

    atexit.register(end)
    threading.Thread(target=work, name="metrics", daemon=True).start()


def _is_first(own: Path) -> bool:
    """Return True if no other API that runs on the data directory comes before this one."""
    return not any(
        each < own and _age_seconds(each / _ALIVE) < ALIVE_SECONDS
        for each in own.parent.glob("api-*")
    )


def _is_stale(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    alive = directory / _ALIVE
    # Earlier releases touch no file; a directory's own time is when a file was last added.
    return _age_seconds(alive if alive.exists() else directory) > STALE_SECONDS


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


@contextlib.contextmanager
def _locked(directory: Path, how: int) -> Iterator[bool]:
    """Keep files from being read while they are folded. Without locks it is done anyway.

    Yield False if another process has kept the lock for LOCKED_SECONDS, as one that was stopped
    does: nobody may wait for it for ever.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        yield _lock(descriptor, how)
    finally:
        # Not by closing alone: a child that was forked meanwhile has the lock, too.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    ends = time.monotonic() + LOCKED_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return True
        else:
            return True


def _lives(path: Path) -> bool:
    """Return True if the process that a file is named after may still count into it.

    If the id was reused by another of our processes, that one continues the file.
    """
    pid = path.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
