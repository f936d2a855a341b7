"""Test the worker's application: its tasks, the start of a child, and its limits."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_app

from tests.unit.test_worker_steps import app_of, settings
from worker import (
    app,
    each,
    erase,
    expire,
    forecast,
    reconcile,
    survey,
    tasks,
)
from worker.app import make_app
from worker.broker import BrokerAMQP
from worker.loop import Loop

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def test_beat_knows_its_tasks_by_name_alone() -> None:
    """A worker has them all, and a loop to run them on."""
    beat = make_app(settings("default"), works=False)
    assert not hasattr(beat, "loop")
    assert [name for name in beat.tasks if name.startswith("linkpool.")] == []
    worker = app_of("default")
    assert isinstance(worker.loop, Loop)
    assert len([name for name in worker.tasks if name.startswith("linkpool.")]) == 12
    for made in (beat, worker):
        assert made.main == "linkpool"
        assert isinstance(made.amqp, BrokerAMQP)
    assert current_app._get_current_object() is worker


def test_another_broker_is_given_no_options_of_redis() -> None:
    conf = app_of("default", broker_url="amqp://guest:guest@127.0.0.1//").conf
    assert "unacked_restore_throttle" not in conf.broker_transport_options
    assert conf.broker_url.startswith("amqp://")


def test_beats_clock_never_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the time of day and goes on by what has passed."""
    began = datetime(2026, 5, 1, tzinfo=UTC)
    monkeypatch.setattr(app, "_started_at", began)
    monkeypatch.setattr(app, "_started", 100.0)
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: 107.5))
    assert app._steady_now() == began + timedelta(seconds=7.5)


class Signal:
    """A signal of Celery's without other listeners."""

    def __init__(self) -> None:
        self.receivers: list[Callable[..., None]] = []

    def connect(self, receiver: Callable[..., None], *, weak: bool) -> None:
        assert not weak  # nobody else holds it
        self.receivers.append(receiver)

    def send(self) -> None:
        for receiver in self.receivers:
            receiver(sender=None)


@pytest.mark.parametrize("traced", [True, False])
def test_a_child_begins_with_a_pulse_and_closes_its_loop(
    monkeypatch: pytest.MonkeyPatch, traced: bool
) -> None:
    """It is traced where traces go somewhere, and leaves Ctrl-C to its parent."""
    said: list[Any] = []
    loop = SimpleNamespace(
        tracing=None,
        run=print,
        start_pulse=lambda: said.append("pulse"),
        close=lambda: said.append("closed"),
    )
    begins, ends = Signal(), Signal()
    monkeypatch.setattr(tasks, "worker_process_init", begins)
    monkeypatch.setattr(tasks, "worker_process_shutdown", ends)
    monkeypatch.setattr(tasks, "open_tracing", lambda name: name if traced else None)
    monkeypatch.setattr(signal, "signal", lambda *args: said.append(args))
    monkeypatch.setattr(
        "worker.traced.TracedTasks",
        lambda tracing: SimpleNamespace(connect=lambda: said.append(("traced", tracing))),
    )
    tasks.register(Celery("test", set_as_current=False), loop)  # type: ignore[arg-type]
    begins.send()
    expected: list[Any] = ["pulse", (signal.SIGINT, signal.SIG_IGN)]
    assert said == [*([("traced", "worker")] if traced else []), *expected]
    assert loop.tracing == ("worker" if traced else None)
    said.clear()
    ends.send()
    assert said == ["closed"]


def test_tasks_end_well_before_their_time_limit() -> None:
    """A task ends well before its time limit, and large work is done in steps."""
    assert (app.SOFT_LIMIT_SECONDS, app.HARD_LIMIT_SECONDS) == (45, 60)
    assert (each.AWAY, expire.ASTRAY_SECONDS, expire._LINKS_PER_STEP) == (3, 60, 1_000)
    assert (erase._RUN_SECONDS, forecast.AT_ONCE, forecast.LOCK_SECONDS) == (10.0, 500, 30.0)
    assert (reconcile.BATCH, reconcile.SETTLE_SECONDS) == (100, 10.0)
    assert (survey.PAGE, survey.TURN_SECONDS, survey._BATCH) == (100, 5.0, 1_000)
