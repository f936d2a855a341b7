"""Test beat as a thread of the worker: failures do not end it, and forks find it at rest."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import schedule

from pool.config.settings import Settings
from worker import beat_thread
from worker.beat_thread import BeatThread

PATIENCE_SECONDS = 30.0


class Sending:
    """An application whose messages go here."""

    def __init__(self) -> None:
        self.app = Celery("test", broker="memory://", set_as_current=False)
        self.app.conf.update(beat_scheduler="celery.beat:Scheduler", beat_max_loop_interval=0.02)
        self.names: list[str] = []
        self.came = threading.Condition()
        self.on_send: Any = lambda: None
        self.app.send_task = self._send
        self.every("sweep")

    def every(self, *names: str) -> None:
        self.app.conf.beat_schedule = _plan(*names)

    def _send(self, name: str, *_: Any, **__: Any) -> None:
        with self.came:
            self.names.append(name)
            self.came.notify_all()
        self.on_send()

    def awaited(self, name: str) -> bool:
        """Wait until this task is sent once more."""
        with self.came:
            had = self.names.count(name)
            return self.came.wait_for(lambda: self.names.count(name) > had, PATIENCE_SECONDS)


def _plan(*names: str) -> dict[str, Any]:
    return {name: {"task": name, "schedule": schedule(timedelta(seconds=0.02))} for name in names}


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sending, BeatThread]]:
    monkeypatch.setattr(beat_thread, "_PAUSE_SECONDS", 0.01)
    hooks: list[dict[str, Any]] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **each: hooks.append(each))
    made = Sending()
    beat = BeatThread(made.app)
    yield made, beat
    beat.end()
    for thread in threading.enumerate():
        if thread.name == "beat":
            thread.join(PATIENCE_SECONDS)


def test_it_sends_what_is_due_until_it_is_ended(sending: tuple[Sending, BeatThread]) -> None:
    """One thread, however often it is started: Celery says anew that a worker is ready after
    each lost connection."""
    made, beat = sending
    for _ in range(3):
        beat.start()
    assert made.awaited("sweep")
    assert [each.name for each in threading.enumerate()].count("beat") == 1
    (thread,) = [each for each in threading.enumerate() if each.name == "beat"]
    beat.end()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_the_schedule_goes_on_after_any_failure(
    sending: tuple[Sending, BeatThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that dies would leave the pools without sweeps while the worker looks well."""
    made, beat = sending
    fails = iter([RuntimeError("odd"), SystemExit(1), MemoryError()])
    real = beat_thread._Scheduler.tick

    def tick(self: Any, *arguments: Any, **more: Any) -> Any:
        if (error := next(fails, None)) is not None:
            raise error
        return real(self, *arguments, **more)

    monkeypatch.setattr(beat_thread._Scheduler, "tick", tick)
    beat.start()
    assert made.awaited("sweep")
    assert next(fails, None) is None


def test_new_settings_bring_a_new_schedule(
    sending: tuple[Sending, BeatThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same thread uses it, and there is no second beat."""
    made, beat = sending
    beat.start()
    assert made.awaited("sweep")
    monkeypatch.setattr(beat_thread, "schedule_of", lambda _: _plan("probe"))
    beat.take(Settings.model_construct())
    assert made.awaited("probe")
    assert made.awaited("probe")
    assert [each.name for each in threading.enumerate()].count("beat") == 1


def test_a_fork_waits_until_nothing_is_being_sent(
    sending: tuple[Sending, BeatThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for ever: the worker needs its children though the broker is away."""
    made, beat = sending
    go_on, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(PATIENCE_SECONDS)

    made.on_send = hang
    beat.start()
    assert begun.wait(PATIENCE_SECONDS)
    monkeypatch.setattr(beat_thread, "_FORK_WAITS_SECONDS", 0.05)
    beat._hold()
    assert not beat._held_by_fork  # it hangs, and the fork goes ahead
    beat._let_go()
    made.on_send = lambda: None
    go_on.set()
    monkeypatch.setattr(beat_thread, "_FORK_WAITS_SECONDS", PATIENCE_SECONDS)
    beat._hold()
    assert beat._held_by_fork
    assert not beat._sending.acquire(blocking=False)
    beat._let_go()
    assert made.awaited("sweep")
