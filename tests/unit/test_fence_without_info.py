"""Show why there is no fence without INFO: one that counts claims hands a link to two customers.

The model favours such a fence: Redis counts every claim in the step that binds it; each API process
refuses a Redis that has counted less than any Redis it has seen, and so does the ledger's count of
recorded claims. docs/guarantees.md has the argument in words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Server:
    """A Redis: its data, and who it is."""

    identity: int
    fresh: list[int] = field(default_factory=lambda: list(range(100)))
    counted: int = 0
    epoch: int = 0  # the identity that the pool was opened for


@dataclass
class Process:
    """An API process, and the most claims that any Redis had counted when it asked."""

    asks: str = "master"
    heard: int = 0


class World:
    """Servers by name, processes, and the ledger's count. `fence` says if a claim is served."""

    def __init__(self, fence: Callable[[Server, int], bool]) -> None:
        self._fence = fence
        self.servers = {"master": Server(identity=0)}
        self.processes = [Process(), Process()]
        self.recorded = 0
        self.given: list[int] = []  # every slug that a customer was answered
        self._identities = 0

    def claim(self, number: int) -> None:
        """Serve a new customer, unless the fence has fallen."""
        process = self.processes[number]
        server = self.servers[process.asks]
        if not self._fence(server, max(process.heard, self.recorded)) or not server.fresh:
            return
        server.counted += 1
        process.heard = max(process.heard, server.counted)
        self.given.append(server.fresh.pop(0))

    def record(self) -> None:
        """Bring what the master has counted to the ledger."""
        self.recorded = max(self.recorded, self.servers["master"].counted)

    def save(self) -> None:
        """Make the copy that a crash, or a failover, comes back with: a file or a replica."""
        self.servers["copy"] = copy.deepcopy(self.servers["master"])

    def crash(self) -> None:
        """Kill the master. It comes back with the copy, as another process."""
        if "copy" in self.servers:
            self.servers["master"] = self._another(self.servers["copy"])

    def split(self) -> None:
        """Promote the replica; the second process finds it, and the first still asks the old."""
        if "copy" in self.servers:
            self.servers["other"] = self._another(self.servers["copy"])
            self.processes[1].asks = "other"

    def restart(self) -> None:
        """Start the API again: its processes have forgotten what they saw, but the ledger has
        not.
        """
        for process in self.processes:
            process.heard = 0

    def _another(self, held: Server) -> Server:
        self._identities += 1
        return Server(self._identities, list(held.fresh), held.counted, held.epoch)

    @property
    def doubles(self) -> int:
        """Return how many links went to more than one customer."""
        return len(self.given) - len(set(self.given))


def counts(server: Server, heard: int) -> bool:
    """Stand as long as this Redis has counted no less than any that was seen."""
    return server.counted >= heard


def identifies(server: Server, _heard: int) -> bool:
    """Stand as long as the pool was opened for this very server, as lua/fence.lua does."""
    return server.epoch == server.identity


Step = Callable[[World], None]


def by(number: int) -> Step:
    """Return a claim by way of one of the processes."""
    return lambda world: world.claim(number)


TRACES: dict[str, list[Step]] = {
    "an older file, and a process that did not serve what it lacks": [
        by(1), World.record, World.save, by(0), World.crash, by(1),
    ],
    "a power cut that ends API and Redis together": [
        by(0), World.record, World.save, by(0), by(1), World.crash, World.restart, by(0),
    ],
    "the one process that had heard the last value dies": [
        World.save, by(0), World.crash, World.restart, by(1),
    ],
    "a replica that lags takes over": [
        by(0), by(1), World.record, World.save, by(0), World.split, by(1),
    ],
    "two masters that count side by side": [
        by(0), by(1), World.save, World.split, by(0), by(1), by(0), by(1),
    ],
    "a count that has caught up before the process that knows better asks": [
        World.save, by(0), by(0), World.crash, by(1), by(1), by(0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_a_fence_that_counts_gives_a_link_to_two_customers(trace: list[Step]) -> None:
    """The fence that knows the server gives none, in the same order of steps."""
    counting, identifying = World(counts), World(identifies)
    for step in trace:
        step(counting)
        step(identifying)
    assert counting.doubles > 0
    assert identifying.doubles == 0


@given(
    st.lists(
        st.sampled_from(
            [by(0), by(1), World.record, World.save, World.crash, World.split, World.restart]
        ),
        max_size=30,
    )
)
def test_a_fence_that_knows_the_server_gives_each_link_once(trace: list[Step]) -> None:
    """That holds for any order of claims, crashes, older files, failovers and restarts."""
    world = World(identifies)
    for step in trace:
        step(world)
    assert world.doubles == 0
