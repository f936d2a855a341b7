"""Make the Celery application, with settings that avoid Redis's and Celery's known traps."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from celery.schedules import schedule

from pool.config.addresses import broker_url
from pool.config.redis_address import is_redis
from pool.config.settings import Settings
from pool.nudges import (
    EXPIRE,
    FORESEE,
    KEEP,
    LAPSE,
    QUEUE,
    RECONCILE,
    SURVEY,
    SWEEP,
    broker,
    sweep_expires_seconds,
)
from worker.broker import BrokerAMQP

LAPSE_SECONDS = 5.0  # often, so that there is never much to do at once
EXPIRE_SECONDS = 60.0
FORESEE_SECONDS = 60.0
KEEP_SECONDS = 60.0
SOFT_LIMIT_SECONDS = 45
HARD_LIMIT_SECONDS = 60


_started_at, _started = datetime.now(UTC), time.monotonic()


def _steady_now() -> datetime:
    """Return a time that never jumps: after a clock was set back, beat would sleep too long."""
    return _started_at + timedelta(seconds=time.monotonic() - _started)


def make_app(settings: Settings, *, works: bool = True) -> Celery:
    """Return a Celery application, with all tasks if it `works`.

    Nothing is connected yet. Beat knows tasks by name and does not import their code.
    """
    url, connecting = broker(broker_url(settings))
    app = Celery("linkpool", broker=url, amqp=BrokerAMQP, set_as_current=True)
    if is_redis(broker_url(settings)):
        connecting["broker_transport_options"]["unacked_restore_throttle"] = 1
    app.conf.update(
        connecting,
        task_default_queue=QUEUE,
        # No results are kept: nobody reads them.
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        # A task of a killed worker is either lost or run twice: twice is harmless here.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=HARD_LIMIT_SECONDS,
        task_soft_time_limit=SOFT_LIMIT_SECONDS,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker_processes,
        worker_autoscaler="worker.scaling:Scaler",
        worker_max_tasks_per_child=5_000,
        worker_soft_shutdown_timeout=5.0,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # None: never give up (the default gives up after 100 tries).
        broker_connection_max_retries=None,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_channel_error_retry=True,
        broker_pool_limit=4,
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule=schedule_of(settings),
    )
    if works:
        from worker import tasks
        from worker.loop import Loop

        app.loop = Loop(settings)
        tasks.register(app, app.loop)
    return app


def schedule_of(settings: Settings) -> dict[str, Any]:
    """Return what beat sends, and how often."""

    def every(task: str, seconds: float) -> dict[str, Any]:
        return {
            "task": task,
            "schedule": schedule(timedelta(seconds=seconds), nowfun=_steady_now),
            "options": {"expires": sweep_expires_seconds(seconds), "queue": QUEUE},
        }

    return {
        "sweep": every(SWEEP, settings.sweep_seconds),
        "lapse": every(LAPSE, LAPSE_SECONDS),
        "expire": every(EXPIRE, EXPIRE_SECONDS),
        "foresee": every(FORESEE, FORESEE_SECONDS),
        "keep": every(KEEP, KEEP_SECONDS),
        "survey": every(SURVEY, settings.probe_seconds),
        "reconcile": every(RECONCILE, settings.reconcile_seconds),
    }
