"""Test how `up` watches its parts without asking supervisord all the time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pool.up.ends import Ends
from pool.up.parts import API
from pool.up.rewrites import NICENESS, step_back
from pool.up.supervisord import ProcessState, Supervisord, Unreachable
from pool.up.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfds and /proc are Linux's")


class Parts:
    """A supervisord that counts how often it is asked."""

    def __init__(self, **pids: int) -> None:
        self.pids, self.asked, self.started = pids, 0, list[str]()
        self.state = dict.fromkeys(pids, "RUNNING")
        self.alive = True

    def states(self) -> dict[str, ProcessState]:
        self.asked += 1
        return {
            name: ProcessState(name, self.state[name], pid, 1, 0) for name, pid in self.pids.items()
        }

    def start_part(self, name: str) -> None:
        self.started.append(name)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process with a group of its own, as a part has."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as it:
        yield it
        it.kill()


def watch_of(parts: Parts, said: list[str]) -> Watch:
    """Return a watch over these parts."""
    return Watch(cast(Supervisord, cast(Any, parts)), Path, said.append)


def test_supervisord_is_not_asked_at_each_look(process: subprocess.Popen[bytes]) -> None:
    """Its answer would be most of what an idle `up` computes."""
    parts = Parts(api=process.pid)
    watch = watch_of(parts, [])
    for _ in range(10):
        watch.look()
    assert parts.asked == 1


def test_a_part_that_ends_is_noticed_at_the_next_look(process: subprocess.Popen[bytes]) -> None:
    """Its group may hold the port that its successor needs."""
    parts, said = Parts(api=process.pid), list[str]()
    watch = watch_of(parts, said)
    watch.look()
    calm = watch.pause_seconds
    process.kill()
    process.wait()
    assert select.select(watch.ended, [], [], 0)[0], "nobody waits for the next look"
    parts.pids[API], parts.state[API] = 0, "EXITED"
    watch.look()
    assert not watch.ended
    assert watch.pause_seconds < calm
    assert parts.started == [API]
    assert said
    assert API in said[0]
    watch.look()
    assert parts.asked == 3  # until all run again, each look asks


def test_a_supervisord_that_has_ended_is_noticed_at_once(process: subprocess.Popen[bytes]) -> None:
    """Nobody would start a part again."""
    parts = Parts(api=process.pid)
    watch = watch_of(parts, [])
    watch.look()
    parts.alive = False
    with pytest.raises(Unreachable):
        watch.look()


def test_a_process_that_is_gone_cannot_be_watched(process: subprocess.Popen[bytes]) -> None:
    """Its end would never be noticed."""
    ends = Ends()
    assert ends.watch([process.pid])
    assert not ends.any()
    process.kill()
    process.wait()
    assert ends.any()
    assert not ends.watch([process.pid])
    ends.close()


def test_what_redis_forks_steps_back() -> None:
    """It would take a core from claims for seconds."""
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"], start_new_session=True) as redis:
        children = Path(f"/proc/{redis.pid}/task/{redis.pid}/children")
        deadline = time.monotonic() + 30
        while not children.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        child = int(children.read_text())
        watch = watch_of(Parts(redis=redis.pid), [])
        watch.look()
        watch.look()
        assert os.getpriority(os.PRIO_PROCESS, child) == NICENESS
        assert os.getpriority(os.PRIO_PROCESS, redis.pid) < NICENESS
        os.killpg(redis.pid, signal.SIGKILL)


def test_a_redis_that_is_gone_has_nothing_that_could_step_back() -> None:
    """It may end between two looks."""
    step_back(2**22 + 1)
