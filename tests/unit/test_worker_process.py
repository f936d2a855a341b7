"""Test what a worker's process does when it begins and ends."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from worker import tasks


def test_a_worker_process_prepares_itself_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves Ctrl-C to its parent, beats its pulse, and closes what it opened."""
    connected: dict[str, list[Any]] = {"init": [], "shutdown": []}

    def signal_of(name: str) -> Any:
        def connect(receiver: Any, *, weak: bool) -> None:
            assert not weak, "nothing else holds the receiver"
            connected[name].append(receiver)

        return SimpleNamespace(connect=connect)

    monkeypatch.setattr(tasks, "worker_process_init", signal_of("init"))
    monkeypatch.setattr(tasks, "worker_process_shutdown", signal_of("shutdown"))
    done: list[Any] = []
    loop: Any = SimpleNamespace(
        run=print,
        start_pulse=lambda: done.append("pulse"),
        close=lambda: done.append("closed"),
        tracing=1,
    )
    monkeypatch.setattr(tasks, "open_tracing", lambda name: done.append(name))
    monkeypatch.setattr(signal, "signal", lambda *each: done.append(each))
    tasks.register(Celery("test", set_as_current=False), loop)
    for each in (*connected["init"], *connected["shutdown"]):
        each(sender=None)
    assert sorted(done, key=str) == sorted(
        ["worker", "pulse", (signal.SIGINT, signal.SIG_IGN), "closed"], key=str
    )
    assert done[-1] == "closed"
    assert loop.tracing is None
