"""Take new settings at SIGHUP, without dropping a claim.

The only process of an API opens a second service beside the first, passes requests on to it, and
closes the first once what it was serving is answered. With several processes, the first of them
checks the settings and has the others replaced, each once its successor serves.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from uvicorn.supervisors import Multiprocess

from pool.bootstrap import reloaded
from pool.config.settings import Settings
from pool.errors import LinkpoolError
from pool.up.running import Running

log = structlog.get_logger()


async def try_reload(
    old: Settings, running: Running | None, take: Callable[[Settings], Awaitable[None]]
) -> None:
    """Take new settings. If they are bad, say so in one line and keep the old ones."""
    try:
        await take(await reloaded(old))
    except LinkpoolError as error:
        log.error("not reloaded", problem=str(error))  # noqa: TRY400 - the line says all
        problem = str(error)
    except Exception as error:
        log.exception("not reloaded")
        problem = type(error).__name__
    else:
        log.info("reloaded")
        problem = ""
    if running is not None:
        running.reloaded(problem)


@contextmanager
def on_hang_up(react: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Run `react` at each SIGHUP, one after the other, while this process serves."""
    loop, turn = asyncio.get_running_loop(), asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    async def in_turn() -> None:
        async with turn:
            await react()

    def begin() -> None:
        task = loop.create_task(in_turn())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop.add_signal_handler(signal.SIGHUP, begin)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()


class Processes(Multiprocess):
    """uvicorn's first process. It replaces the others only once their successors can start."""

    def __init__(self, settings: Settings, running: Running, *arguments: Any, **more: Any) -> None:
        self._settings = settings
        self._running = running
        super().__init__(*arguments, **more)

    def handle_hup(self) -> None:
        """Check the new settings, then replace the processes one after another."""

        async def replace(settings: Settings) -> None:
            self._settings = settings
            self.restart_all()

        asyncio.run(try_reload(self._settings, self._running, replace))
