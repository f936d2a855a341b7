"""Take new settings at SIGHUP, in worker and beat.

The worker's first process checks them, keeps them for the children it will fork, and passes the
signal on to those it has; each of them reads the settings and takes them before its next task.
Beat, which holds nothing, begins anew, also where it is a thread of the worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from pool.config.settings import Settings, load
from pool.errors import LinkpoolError
from pool.up.modules import become
from pool.up.running import Running

if TYPE_CHECKING:
    from worker.beat_thread import BeatThread

log = structlog.get_logger()


def reload_worker(
    settings: Settings, running: Sequence[Running], loop: Any, beat: BeatThread | None = None
) -> None:
    """Let a worker take SIGHUP once it is ready, in place of Celery, which would restart it."""
    from celery.signals import worker_process_init, worker_ready

    first = os.getpid()

    def take_settings() -> None:
        from billiard import active_children

        from pool.bootstrap import reloaded

        try:
            new = asyncio.run(reloaded(settings))
        except LinkpoolError as error:
            _refused(error, *running)
            return
        loop.take(new)
        if beat is not None:
            beat.take(new)
        for child in active_children():
            os.kill(child.pid, signal.SIGHUP)
        log.info("reloaded")
        for each in running:
            each.reloaded()

    def hang_up_child(*_: Any) -> None:
        try:
            loop.take(load(data_dir=settings.data_dir))
        except LinkpoolError as error:  # changed again since the first process looked
            log.error("not reloaded", problem=str(error))  # noqa: TRY400 - the line says all

    def ready(**_: Any) -> None:
        if os.getpid() == first:
            signal.signal(signal.SIGHUP, one_at_a_time(take_settings))

    def begun(**_: Any) -> None:
        signal.signal(signal.SIGHUP, hang_up_child)

    worker_ready.connect(ready, weak=False)
    worker_process_init.connect(begun, weak=False)


def reload_beat(settings: Settings, running: Running) -> None:
    """Let this beat begin anew at SIGHUP, if its settings are good."""

    def begin_anew() -> None:
        from pool.nudges import check_before_sending

        try:
            new = load(data_dir=settings.data_dir)
            asyncio.run(check_before_sending(new))
        except LinkpoolError as error:
            _refused(error, running)
            return
        become("worker", "beat")

    signal.signal(signal.SIGHUP, one_at_a_time(begin_anew))


def one_at_a_time(react: Callable[[], object]) -> Callable[..., None]:
    """Return a signal's handler that calls `react`, and once more for signals that come meanwhile.

    Python runs a handler also in the middle of itself, where no event loop can be started.
    """
    waiting = 0

    def handle(*_: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting > 1:
            return
        try:
            while waiting:
                seen = waiting
                react()
                waiting -= seen
        finally:
            waiting = 0

    return handle


def _refused(error: LinkpoolError, *running: Running) -> None:
    log.error("not reloaded", problem=str(error))
    for each in running:
        each.reloaded(str(error))
