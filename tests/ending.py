"""End the processes that tests started, so that none is left, and show the log of one that
hangs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60.0  # a loaded machine is no fault; what takes longer hangs
_SAID_CHARACTERS = 4_000


class DidNotEnd(AssertionError):
    """Raised for a process that did not end in time, and had to be killed."""


def end(
    process: subprocess.Popen[Any],
    *logs: Path,
    how: signal.Signals = signal.SIGTERM,
    seconds: float = PATIENCE_SECONDS,
) -> int:
    """Ask a process to end, unless it has. Return its exit code once it is gone.

    Kill it, and raise DidNotEnd with the ends of its logs, if it takes longer than this.
    """
    if process.poll() is None:
        process.send_signal(how)
    return ended(process, *logs, seconds=seconds)


def ended(process: subprocess.Popen[Any], *logs: Path, seconds: float = PATIENCE_SECONDS) -> int:
    """Wait until a process has ended by itself. Return its exit code; otherwise do as `end`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        raise DidNotEnd(_said(process, seconds, [_end_of(log) for log in logs])) from None


def outcome(
    process: subprocess.Popen[str], *, seconds: float = PATIENCE_SECONDS
) -> tuple[str | None, str | None]:
    """Wait until a process with pipes has ended by itself. Return everything that it wrote into
    them.
    """
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        said = [each for each in process.communicate() if each]
        raise DidNotEnd(_said(process, seconds, said)) from None


def end_all(running: Iterable[tuple[subprocess.Popen[Any], Path]]) -> None:
    """End processes, each with its log, all at once. All are gone when this returns or raises."""
    running = list(running)
    for process, _ in running:
        if process.poll() is None:
            process.terminate()
    hung = []
    for process, log in running:
        try:
            ended(process, log)
        except DidNotEnd as error:
            hung.append(str(error))
    if hung:
        raise DidNotEnd("\n".join(hung))


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process, and the others of its group if it leads one."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()


def _said(process: subprocess.Popen[Any], seconds: float, texts: Iterable[str]) -> str:
    words = process.args if isinstance(process.args, list) else [process.args]
    lines = [f"not within {seconds:g} s, and was killed: {' '.join(map(str, words))}", *texts]
    return "\n".join(lines)


def _end_of(log: Path) -> str:
    try:
        return f"{log}:\n{log.read_text('utf-8', errors='replace')[-_SAID_CHARACTERS:]}"
    except OSError as error:
        return f"{log}: {error.strerror}"
