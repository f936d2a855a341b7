"""Test when a worker gets a process more, and when one less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker import scaling
from worker.scaling import LOOK_SECONDS, PATIENCE_SECONDS, REST_SECONDS, Scaler


class Pool:
    """A pool of processes that only counts them, and remembers which are ending."""

    def __init__(self) -> None:
        self.num_processes = 1
        self.maintained = 0
        processes = [SimpleNamespace(_controlled_termination=False, inqW_fd=n) for n in range(9)]
        self._pool = SimpleNamespace(_pool=processes, _busy_workers=set())

    def grow(self, n: int) -> None:
        self.num_processes += n

    def shrink(self, n: int) -> None:
        self.num_processes -= n
        self._pool._pool[self.num_processes]._controlled_termination = True

    def maintain_pool(self) -> None:
        self.maintained += 1


class Worker:
    """A scaler with a clock and a number of tasks, begun or not, that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 3) -> None:
        self.now, self.tasks, self.pool = 1000.0, 0, Pool()
        monkeypatch.setattr(scaling, "monotonic", lambda: self.now)
        monkeypatch.setattr(Scaler, "qty", property(lambda _: self.tasks))
        self.scaler: Any = Scaler(self.pool, most, 1, mutex=None)

    def after(self, seconds: float, tasks: int) -> int:
        """Look every LOOK_SECONDS while this number of tasks waits. Return the number of
        processes.
        """
        self.tasks = tasks
        end = self.now + seconds
        while True:
            self.scaler.maybe_scale()
            if self.now >= end:
                return self.pool.num_processes
            self.now = min(end, self.now + LOOK_SECONDS)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(monkeypatch)


@pytest.mark.parametrize("had", [1, 3])
def test_tasks_that_come_together_and_are_done_soon_need_one(worker: Worker, had: int) -> None:
    """Each sweep sends some, here for half an hour, with one process or three to begin with."""
    assert worker.after(10, tasks=had) == had
    for number in range(360):
        for worker.tasks in range(1, 6 if number % 12 == 0 else 3):
            worker.scaler.maybe_scale()
        worker.now += 0.05
        worker.after(4.45, tasks=0)
        worker.now += 0.5  # between two looks
    assert worker.pool.num_processes == 1
    assert worker.pool.maintained == 2 * (had - 1)  # grown and shrunk once for each


def test_a_task_that_waits_gets_a_process(worker: Worker) -> None:
    """It gets one within a second, forked at once, and processes grow one by one to the most."""
    assert worker.after(30, tasks=1) == 1  # a long top-up, and nobody waits
    assert worker.after(PATIENCE_SECONDS + LOOK_SECONDS, tasks=2) == 2
    assert worker.pool.maintained == 1
    assert worker.after(10, tasks=9) == 3


def test_processes_that_are_not_needed_end_one_after_another(worker: Worker) -> None:
    """A minute later, and never while a task is under way, which one of them may have been sent."""
    assert worker.after(10, tasks=3) == 3
    assert worker.after(REST_SECONDS - 1, tasks=0) == 3
    assert worker.after(REST_SECONDS, tasks=1) == 3
    assert worker.after(0, tasks=0) == 2
    assert worker.after(REST_SECONDS - 1, tasks=0) == 2
    assert worker.after(2, tasks=0) == 1
    assert worker.after(10 * REST_SECONDS, tasks=0) == 1
    # What ends is sent no task: the pool takes it for busy.
    assert worker.pool._pool._busy_workers == {1, 2}


def test_a_process_that_is_needed_again_and_again_stays(worker: Worker) -> None:
    """Ending it and forking it anew each minute would cost more than it saves."""
    assert worker.after(2, tasks=2) == 2
    for _ in range(10):
        assert worker.after(REST_SECONDS - 2, tasks=0) == 2
        assert worker.after(1, tasks=2) == 2
