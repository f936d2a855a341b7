"""Run each trial in a forked process of its own, several at a time and with a limit of time."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

SURVIVED, NOTICED, TIMEOUT, CANNOT = 0, 1, 2, 3
MEMORY_BYTES = 8 << 30
STILL_SECONDS = 12.0  # a process that computes nothing for so long waits for what never comes


@dataclass
class Job(Generic[T]):
    """One trial: the work of its process, and its limit of CPU time."""

    subject: T
    act: Callable[[], int]
    cpu_seconds: float


@dataclass
class _Running(Generic[T]):
    job: Job[T]
    said: int
    ends: float
    used: float = 0.0
    moved: float = field(default_factory=time.monotonic)


def run(jobs: Iterable[Job[T]], at_once: int) -> Iterator[tuple[T, int, str]]:
    """Do the jobs. Yield each outcome, with the last message of its process."""
    waiting, running = iter(jobs), dict[int, _Running[T]]()
    more = True
    while more or running:
        while more and len(running) < at_once:
            job = next(waiting, None)
            if job is None:
                more = False
            else:
                pid, said = _begin(job)
                running[pid] = _Running(job, said, time.monotonic() + 60 + 20 * job.cpu_seconds)
        for pid in [*running]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                if _is_stuck(pid, running[pid]):
                    _kill(pid)
                continue
            one = running.pop(pid)
            _kill(pid)  # what it has started, if anything
            with os.fdopen(one.said, encoding="utf-8", errors="replace") as pipe:
                said = pipe.read()
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else TIMEOUT
            yield one.job.subject, code, said
        time.sleep(0.01)


def _begin(job: Job[T]) -> tuple[int, int]:
    hear, say = os.pipe()
    pid = os.fork()
    if pid:
        os.close(say)
        return pid, hear
    code = CANNOT
    try:
        os.setpgid(0, 0)
        os.close(hear)
        _limit(job.cpu_seconds)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nowhere, each)
        os.dup2(say, 9)
        code = job.act()
    finally:
        os._exit(code)


def say(what: str) -> None:
    """Send a message to the parent, from a job's process."""
    os.write(9, what[:4000].encode("utf-8", "replace"))


def _limit(cpu_seconds: float) -> None:
    most = int(10 + 4 * cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _is_stuck(pid: int, one: _Running[T]) -> bool:
    """Return True if the process computes nothing any more, or has used up its time."""
    now = time.monotonic()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return now > one.ends
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    if used > one.used + 0.02:
        one.used, one.moved = used, now
    return now > one.ends or now > one.moved + STILL_SECONDS


def _kill(pid: int) -> None:
    """End a process that was started here, with the group that it leads."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
