"""Test how `up` watches its parts without asking supervisord all the time."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pool.up.ends import Ends
from pool.up.parts import API
from pool.up.supervisord import ProcessState, Supervisord, Unreachable
from pool.up.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfds are Linux's")


class Parts:
    """A supervisord, as the watch knows it."""

    def __init__(self, **pids: int) -> None:
        self.pids, self.started = pids, list[str]()
        self.state = dict.fromkeys(pids, "RUNNING")
        self.alive = True

    def states(self) -> dict[str, ProcessState]:
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


def test_a_part_that_ends_is_noticed_at_the_next_look(process: subprocess.Popen[bytes]) -> None:
    """Its group may hold the port that its successor needs."""
    parts, said = Parts(api=process.pid), list[str]()
    watch = watch_of(parts, said)
    watch.look()
    calm = watch.pause_seconds
    assert calm > 1, "its answer is most of what an idle `up` computes"
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


def test_a_supervisord_that_has_ended_is_noticed_at_once(process: subprocess.Popen[bytes]) -> None:
    """Without it no part would be started again."""
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
    assert not select.select(ends.files, [], [], 0)[0]
    process.kill()
    process.wait()
    assert select.select(ends.files, [], [], 0)[0]
    assert not ends.watch([process.pid])
    ends.close()
