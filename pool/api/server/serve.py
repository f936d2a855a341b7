"""Start the API: uvicorn with uvloop and httptools, in one or several processes."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from pool.api.server.mounted import protocol_of
from pool.config.own_address import listening_address
from pool.config.production import check_production, where
from pool.config.proxy_warnings import proxy_warnings
from pool.config.settings import Settings, load
from pool.telemetry.logs import configure_logging, log_strays
from pool.telemetry.shared_counts import share_metrics
from pool.telemetry.tracing import open_tracing
from pool.up.running import Running

if TYPE_CHECKING:
    from pool.api.server.app import Application

log = structlog.get_logger()

GRACE_SECONDS = 5  # for requests that are under way when the server stops
# How long a process may take to start, or to answer its parent, before it is replaced. With
# uvicorn's default of 5 s, a busy machine replaces processes again and again before they start.
HEALTH_SECONDS = 30
_TICK_SECONDS = 1.0

_only_process: Running | None = None  # set where one process serves alone; it takes SIGHUP itself


def make_application() -> Application:
    """Return the application that each server process runs, with settings from the environment."""
    settings = load()
    configure_logging(log_format=settings.log_format, log_level=settings.log_level)
    log_strays()
    _end_with_the_parent()
    # Imported here because the metrics library needs its directory when it is imported.
    from pool.api.server.app import Application

    for text in proxy_warnings(settings):
        log.warning("trusted proxies", problem=text)
    application = Application(settings, open_tracing("api"))
    application.running = _only_process
    # Everything loaded by now stays, so the collector need not look at it again, nor once before
    # that: it takes a tenth of a second and finds nothing.
    gc.freeze()
    return application


def _end_with_the_parent() -> None:
    """Stop this process once the one that started it has ended, in whatever way.

    Otherwise the processes of a killed `linkpool api` would serve on, and keep its port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # the only process: nobody started it as one of several
        return

    def watch() -> None:
        parent.join()
        log.warning("the process that started this one has ended, so this one stops")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


class _Server(uvicorn.Server):
    """Waits for a signal. uvicorn's own wakes ten times a second, which an idle machine feels."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signalled = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until asked to stop. Each tick of number 0 renews the date that answers carry."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._signalled.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ask the server to stop, at once."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._signalled.set)


def serve(settings: Settings) -> None:
    """Serve until stopped. Raise SettingsError if the settings do not allow it.

    With several processes, SIGHUP replaces them one after another, each once its successor
    serves. They share one listening socket, so no connection is refused meanwhile.
    """
    configure_logging(log_format=settings.log_format, log_level=settings.log_level)
    check_production(settings)
    share_metrics(settings.data_dir, "api", settings.port)
    from pool.api.server.reloading import Processes
    from pool.bootstrap import check_before_serving

    asyncio.run(check_before_serving(settings))
    log.info(
        "linkpool api starts",
        version=version("linkpool"),
        address=listening_address(settings),
        processes=settings.api_workers,
        **where(settings),
    )
    config = uvicorn.Config(
        "pool.api.server.serve:make_application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.api_workers,
        loop="uvloop",
        http=protocol_of(settings.root_path),
        ws="none",  # nothing is upgraded
        interface="asgi3",
        proxy_headers=False,  # the edge and the claim lane apply TRUSTED_PROXIES
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_worker_healthcheck=HEALTH_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=4096,
    )
    running = Running(settings.data_dir, "api")
    if settings.api_workers > 1:
        Processes(settings, running, config, sockets=[config.bind_socket()]).run()
        return
    global _only_process
    _only_process = running
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
