"""Send this worker process's pulse every second, with whether the providers answer it.

A child sends it only while the main process is at work: a main process that is frozen or gone hands
out no tasks, although all its children would look well.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from pool.compose import Parts
from pool.errors import LinkpoolError
from pool.model.vitals import BEAT_SECONDS

log = structlog.get_logger()


async def beat_on(parts: Parts, main_at_work: Callable[[], bool]) -> None:
    """Beat until cancelled, and hand over what this process counted."""
    here = f"worker {socket.gethostname()}:"
    process = f"{here}{os.getpid()}"
    try:
        # The processes that this one replaces are gone, so they must not count as silent.
        with suppress(LinkpoolError):
            await parts.store.pulses.forget_ended(here, _lives)
        said = ""  # the last reason why not, so that each is logged once
        while True:
            try:
                if main_at_work():
                    await parts.store.pulses.beat(process, parts.pulse("worker"))
                await parts.outcomes.flush()
                said = ""
            except LinkpoolError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("no pulse", reason=said)
            await asyncio.sleep(BEAT_SECONDS)
    finally:
        with suppress(LinkpoolError):
            await parts.outcomes.flush()
            await parts.store.pulses.end(process)


def _lives(process: str) -> bool:
    try:
        pid = int(process.rpartition(":")[2])
        os.kill(pid, 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return _state_of(pid) != "Z"  # it has ended, though nobody has asked how


def _state_of(pid: int) -> str:
    """Return the letter of a process's state; nothing where the system does not say."""
    try:
        # The state follows the name, which is in parentheses and may hold any character.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


class MainProcess:
    """The process that started this one."""

    def __init__(self) -> None:
        self._pid = os.getppid()

    def is_at_work(self) -> bool:
        """Return False if it is gone or frozen. Where the system does not say, return True."""
        return os.getppid() == self._pid and _state_of(self._pid) not in ("T", "t")
