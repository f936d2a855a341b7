"""Register the Celery tasks, each a few lines over a plain coroutine.

Messages are hints. Every task looks at the present state and moves it to what it should be, so a
message may be lost, late or repeated, and a task may run twice at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog
from celery import Celery
from celery.signals import task_failure, worker_process_init, worker_process_shutdown

from pool.compose import Parts
from pool.errors import LinkpoolError
from pool.nudges import (
    EXPIRE,
    EXPIRES_SECONDS,
    FORESEE,
    KEEP,
    LAPSE,
    NOTIFY,
    QUEUE,
    RECONCILE,
    RECORD,
    RECOVER,
    SETTLE,
    SURVEY,
    SWEEP,
    TOP_UP,
)
from pool.telemetry.tracing import open_tracing
from worker import (
    expire,
    forecast,
    hours,
    lapse,
    notify,
    reconcile,
    record,
    recover,
    settle,
    survey,
    sweep,
    top_up,
)
from worker.loop import Loop

log = structlog.get_logger()


def register(app: Celery, loop: Loop) -> None:
    """Register every task with the application. They run on `loop`."""

    def hint(task: str, **arguments: Any) -> None:
        app.send_task(task, kwargs=arguments, queue=QUEUE, expires=EXPIRES_SECONDS)

    def task(name: str) -> Callable[[Callable[..., object]], None]:
        """Register the decorated function, and log what it raises.

        Nothing may be raised to Celery. It would send the error with its traceback through a
        pipe, in pieces if it is long. If the broker's connection breaks between two pieces, its
        main process loses its place and ends for good (seen with 5.7). That happens just when
        Redis dies: connections break and tasks fail.
        """

        def add(work: Callable[..., object]) -> None:
            @app.task(name=name, shared=False)
            def run(**arguments: Any) -> None:
                try:
                    work(**arguments)
                except Exception as error:  # noqa: BLE001 - the next sweep tries again
                    _failed(name, error)

        return add

    @task(SWEEP)
    def _sweep() -> None:
        for name, arguments in loop.run(sweep.sweep):
            hint(name, **arguments)

    @task(TOP_UP)
    def _top_up(workspace: str) -> None:
        if loop.run(lambda parts: top_up.top_up(parts, workspace)):
            hint(TOP_UP, workspace=workspace)

    @task(RECORD)
    def _record(sid: str | None = None) -> None:
        loop.run(lambda parts: record.record(parts, sid))

    @task(RECOVER)
    def _recover() -> None:
        for workspace in loop.run(recover.recover):
            hint(TOP_UP, workspace=workspace)

    @task(RECONCILE)
    def _reconcile() -> None:
        if loop.run(reconcile.reconcile):
            hint(RECONCILE)

    # The others take no arguments and ask for nothing more.
    plain: dict[str, Callable[[Parts], Awaitable[object]]] = {
        SETTLE: settle.settle,
        NOTIFY: notify.deliver,
        LAPSE: lapse.lapse,
        EXPIRE: expire.expire,
        FORESEE: forecast.foresee,
        KEEP: hours.keep,
        SURVEY: survey.survey,
    }
    for name, work in plain.items():
        task(name)(partial(loop.run, work))

    def close(**_: Any) -> None:
        loop.close()

    def trace(**_: Any) -> None:
        loop.tracing = open_tracing("worker")
        if loop.tracing is not None:
            from worker.traced import TracedTasks

            TracedTasks(loop.tracing).connect()

    def pulse(**_: Any) -> None:
        loop.start_pulse()

    worker_process_init.connect(trace, weak=False)
    worker_process_init.connect(pulse, weak=False)
    worker_process_shutdown.connect(close, weak=False)
    worker_process_init.connect(_quiet_interrupts, weak=False)


def _failed(name: str, error: Exception) -> None:
    """Log a failure, and send Celery's signal for it, on which the task's span is marked."""
    if isinstance(error, LinkpoolError):
        log.error("task failed", task=name, reason=str(error), kind=type(error).__name__)
    else:
        log.error("task failed", task=name, exc_info=error)
    task_failure.send(sender=name, exception=error)


def _quiet_interrupts(**_: Any) -> None:
    """Ignore Ctrl-C in a child.

    In a terminal it reaches the whole process group, and the parent stops the children.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
