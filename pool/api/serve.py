"""Starts the API: uvicorn with uvloop and httptools, over one or several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from pool.logs import configure_logging
from pool.metrics import share_metrics
from pool.settings import Settings, load

if TYPE_CHECKING:
    from pool.api.app import Application

GRACE_SECONDS = 5  # for requests that are under way when the server is told to stop
KEEP_ALIVE_SECONDS = 30


def make_application() -> Application:
    """What each server process runs; reads the settings from its environment."""
    # Here and not above: the metrics library must find its directory when it is imported.
    from pool.api.app import Application

    settings = load()
    configure_logging(settings)
    return Application(settings)


def serve(settings: Settings) -> None:
    """Serves until stopped."""
    share_metrics(settings.data_dir, "api")
    uvicorn.run(
        "pool.api.serve:make_application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.api_workers,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=4096,
    )
