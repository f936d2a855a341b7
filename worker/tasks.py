"""The Celery tasks: a few lines each over a plain coroutine.

Messages are hints. Every task looks at how things are and moves them to how they should
be, so it may be lost, late, repeated, or run twice at once.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from pool.nudges import EXPIRES_SECONDS, NOTIFY, QUEUE, RECORD, RECOVER, SETTLE, TOP_UP
from pool.tracing import open_tracing
from worker import expire, foresee, notify, reconcile, record, recover, settle, sweep, top_up
from worker.loop import Loop

SWEEP = "linkpool.sweep"
EXPIRE = "linkpool.expire"
FORESEE = "linkpool.foresee"
RECONCILE = "linkpool.reconcile"


def register(app: Celery, loop: Loop) -> None:
    """Registers every task with the application; they run on `loop`."""

    def hint(task: str, **arguments: Any) -> None:
        app.send_task(task, kwargs=arguments, queue=QUEUE, expires=EXPIRES_SECONDS)

    @app.task(name=SWEEP)
    def _sweep() -> None:
        for task, arguments in loop.run(sweep.sweep):
            hint(task, **arguments)

    @app.task(name=TOP_UP)
    def _top_up(workspace: str) -> None:
        if loop.run(lambda parts: top_up.top_up(parts, workspace)):
            hint(TOP_UP, workspace=workspace)

    @app.task(name=RECORD)
    def _record(sid: str | None = None) -> None:
        loop.run(lambda parts: record.record(parts, sid))

    @app.task(name=SETTLE)
    def _settle() -> None:
        loop.run(settle.settle)

    @app.task(name=RECOVER)
    def _recover() -> None:
        for workspace in loop.run(recover.recover):
            hint(TOP_UP, workspace=workspace)

    @app.task(name=NOTIFY)
    def _notify() -> None:
        loop.run(notify.deliver)

    @app.task(name=EXPIRE)
    def _expire() -> None:
        loop.run(expire.expire)

    @app.task(name=FORESEE)
    def _foresee() -> None:
        loop.run(foresee.foresee)

    @app.task(name=RECONCILE)
    def _reconcile() -> None:
        loop.run(reconcile.reconcile)

    def close(**_: Any) -> None:
        loop.close()

    def trace(**_: Any) -> None:
        loop.tracing = open_tracing("worker")
        if loop.tracing is not None:
            from worker.traced import TracedTasks

            TracedTasks(loop.tracing).connect()

    worker_process_init.connect(trace, weak=False)
    worker_process_shutdown.connect(close, weak=False)
    worker_process_init.connect(_quiet_interrupts, weak=False)


def _quiet_interrupts(**_: Any) -> None:
    """Ctrl-C in a terminal reaches the whole process group; the parent stops the children."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
