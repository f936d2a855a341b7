"""Run the tasks' coroutines on one long-lived event loop per worker process.

Celery cannot run coroutines, and a loop per task would lose every connection. The loop and its
clients are made after the fork, when the first task needs them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TypeVar

import structlog

from pool.compose import Parts, compose
from pool.config.settings import Settings
from pool.telemetry.tracing import Tracing
from worker import pulse
from worker.pulse import MainProcess

log = structlog.get_logger()

T = TypeVar("T")
_CLOSE_SECONDS = 5.0


class Loop:
    """Runs coroutines for synchronous callers, and gives them the parts they work on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tracing: Tracing | None = None  # to be set before the first task
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack: AsyncExitStack | None = None
        self._parts: Parts | None = None
        self._beating: Future[None] | None = None
        self._next: Settings | None = None  # to be taken before the next task

    def take(self, settings: Settings) -> None:
        """Work with these settings from the next task on. Safe to call in a signal's handler."""
        self._next = settings

    def run(self, work: Callable[[Parts], Awaitable[T]]) -> T:
        """Return the result of `work`. Cancel it if the caller is interrupted."""
        if self._next is not None:
            self._take_next()
        loop, parts = self._ready()

        async def call() -> T:
            return await work(parts)

        future = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return future.result()
        except BaseException:
            # At a time limit or a shutdown, the coroutine must not outlive its task.
            future.cancel()
            raise

    def _take_next(self) -> None:
        """Close the parts that the old settings made. A process runs one task at a time."""
        with self._lock:
            settings, self._next = self._next, None
            if settings is None:
                return
            self._settings = settings
            stack, loop, beating = self._stack, self._loop, self._beating
            self._stack = self._parts = self._beating = None
        if loop is None or stack is None:
            return
        if beating is not None:
            beating.cancel()
        try:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(_CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the new parts do not need the old
            log.warning("clients not closed", reason=type(error).__name__)
        if beating is not None:
            self.start_pulse()

    def start_pulse(self) -> None:
        """Begin to say every second that this process is alive, without waiting for Redis."""
        main = MainProcess()

        def start() -> None:
            try:
                loop, parts = self._ready()
            except Exception as error:  # noqa: BLE001 - the first task meets it, too, and reports it
                log.warning("no pulse", reason=type(error).__name__)
                return
            beating = pulse.beat_on(parts, main.is_at_work)
            self._beating = asyncio.run_coroutine_threadsafe(beating, loop)

        threading.Thread(target=start, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Close the clients and end the loop."""
        with self._lock:
            if self._loop is None or self._stack is None:
                return
            stack, tracing = self._stack, self.tracing

            async def end() -> None:
                # Tasks that still run are ended first: they must not use closed clients.
                running = asyncio.all_tasks() - {asyncio.current_task()}
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
                await stack.aclose()

            try:
                asyncio.run_coroutine_threadsafe(end(), self._loop).result(_CLOSE_SECONDS)
            except Exception as error:  # noqa: BLE001 - the process must end in any case
                log.warning("clients not closed", reason=type(error).__name__)
            if tracing is not None:
                tracing.close()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = self._stack = self._parts = None

    def _ready(self) -> tuple[asyncio.AbstractEventLoop, Parts]:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="loop", daemon=True).start()
                self._loop = loop
            if self._parts is None:
                stack = AsyncExitStack()

                async def enter() -> Parts:
                    return await stack.enter_async_context(compose(self._settings, self.tracing))

                self._parts = asyncio.run_coroutine_threadsafe(enter(), self._loop).result()
                self._stack = stack
            return self._loop, self._parts
