"""Run `python -m worker worker` or `python -m worker beat`, as `linkpool worker` and `beat` do.

`python -m worker worker beat` is both in one: `linkpool up` runs it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from pool.config.production import check_production, where
from pool.config.settings import Settings, load
from pool.errors import SettingsError
from pool.telemetry.logs import configure_logging, log_strays
from pool.telemetry.shared_counts import counted, exposed, share_metrics
from pool.up.running import Running
from worker.ending import end_in_time
from worker.reloading import reload_beat, reload_worker

if TYPE_CHECKING:
    from worker.beat_thread import BeatThread


def main(role: str, *, with_beat: bool = False) -> int:
    """Run until stopped. Return the exit code, 2 when a setting is wrong."""
    gc.disable()  # imported code stays, so a collection would find nothing
    try:
        settings, app = _prepared(role)
    except SettingsError as error:
        sys.stderr.write(f"linkpool {role}: {error}\n")
        return 2
    running = [Running(settings.data_dir, part) for part in (role, *["beat"] * with_beat)]
    gc.freeze()
    gc.enable()
    if role == "beat":
        reload_beat(settings, running[0])
        app.Beat(loglevel="WARNING", quiet=True, pidfile=None).run()
        return 0
    # Children share what is never written to. The collector writes to all that it looks through,
    # so nothing that was there before a fork is looked through after it.
    os.register_at_fork(before=gc.freeze)
    reload_worker(settings, running, app.loop, _beat_thread(app) if with_beat else None)
    end_in_time()
    # Not by Celery's command line, whose other commands bring 200 modules along.
    app.Worker(
        hostname=f"linkpool@{socket.gethostname()}",
        loglevel="WARNING",
        quiet=True,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,  # nobody hears it: worker/pulse.py has ours
        autoscale=_scale(settings),
    ).start()
    return 0


def _prepared(role: str) -> tuple[Settings, Any]:
    """Return the settings and the application, once all is checked. Raise SettingsError."""
    settings = load()
    configure_logging(log_format=settings.log_format, log_level=settings.log_level)
    log_strays()
    check_production(settings, only_sends=role == "beat")
    directory = None
    if role == "worker":
        directory = share_metrics(settings.data_dir, "worker", settings.metrics_port)
        # Imported here because the metrics library needs its directory when it is imported.
        from pool.bootstrap import check_before_serving

        asyncio.run(check_before_serving(settings, works=True))
    else:
        from pool.nudges import check_before_sending

        asyncio.run(check_before_sending(settings))
    from celery.signals import setup_logging

    from worker.app import make_app
    from worker.imports import keep_current_directory_out

    keep_current_directory_out()

    # With a receiver on this signal, Celery leaves logging as it is.
    setup_logging.connect(_logging_is_set_up)
    app = make_app(settings, works=role == "worker")
    if role == "worker":
        from worker import preload  # noqa: F401
    if settings.metrics_port is not None:
        _open_port(settings, directory)
    structlog.get_logger().info(
        f"linkpool {role} starts", version=version("linkpool"), **where(settings)
    )
    return settings, app


def _scale(settings: Settings) -> tuple[int, int] | None:
    """Return the most and the fewest processes, None where their number is set."""
    return (settings.worker_processes, 1) if settings.worker_concurrency is None else None


def _beat_thread(app: Any) -> BeatThread:
    """Return beat, which starts once the worker has its first children, and ends with it."""
    from celery.signals import worker_ready, worker_shutting_down

    from worker.beat_thread import BeatThread

    beat = BeatThread(app)
    worker_ready.connect(lambda **_: beat.start(), weak=False)
    worker_shutting_down.connect(lambda **_: beat.end(), weak=False)
    return beat


def _open_port(settings: Settings, directory: Path | None) -> None:
    """Serve the counts in a worker's directory, or those of this beat. Raise SettingsError."""
    from worker.metrics_port import HealthOnce, MetricsPort, beats_counts

    if directory is None:
        beats_counts()  # counts from now on
    counts = (lambda: exposed(counted(directory))) if directory else beats_counts
    MetricsPort(settings, counts, HealthOnce(settings)).start()


def _logging_is_set_up(**_: Any) -> None:
    """Keep Celery from setting the root logger's level, format and handlers."""


if __name__ == "__main__":
    words = tuple(sys.argv[1:])
    if words not in (("worker",), ("beat",), ("worker", "beat")):
        sys.stderr.write("usage: python -m worker worker|beat, or both\n")
        raise SystemExit(2)
    raise SystemExit(main(words[0], with_beat=len(words) > 1))
