"""Test how calls find their master on a Redis Cluster whose nodes give odd answers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from pool.errors import is_away
from pool.store.cluster.slots import slot_of
from pool.store.cluster.topology import OneMasterAway, SlotUnavailable, Topology
from pool.store.connect import store_error

ONE, TWO, LAST = ("one", 1), ("two", 2), 16_383


class Node:
    """A node that answers CLUSTER SLOTS with its view, and anything else by turns."""

    def __init__(self, *view: tuple[int, int, object, int]) -> None:
        self.view: list[Any] = [[first, last, [host, port]] for first, last, host, port in view]
        self.answers: list[Any] = []
        self.asked: list[tuple[Any, ...]] = []
        self.closed = False
        self.connection_pool = None

    async def execute_command(self, *args: Any) -> Any:
        """Return or raise the next scripted result."""
        if args == ("CLUSTER", "SLOTS"):
            if isinstance(self.view, Exception):
                raise self.view
            return self.view
        self.asked.append(args)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self, close_connection_pool: bool) -> None:
        """Note that the connections were closed."""
        self.closed = close_connection_pool


class Nodes:
    """A Cluster of two nodes, of which the first serves all slots."""

    def __init__(self) -> None:
        view = (0, LAST, b"one", 1)
        self.at = {ONE: Node(view), TWO: Node(view)}
        self.topology = Topology([ONE, TWO], lambda *address: cast("Redis", self.at[address]))

    def say(self, *view: tuple[int, int, object, int]) -> None:
        """Give all nodes a view."""
        for node in self.at.values():
            node.view = Node(*view).view

    async def get(self, slot: int = 0) -> Any:
        """Send a command to the master of a slot."""

        async def send(redis: Any, _wire: Any, is_asking: bool) -> Any:
            return await redis.execute_command("ASKING" if is_asking else "GET")

        return await self.topology.routed(slot, send)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Return a Cluster that may be looked at as often as there is need."""
    monkeypatch.setattr("pool.store.cluster.topology.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("pool.store.cluster.topology.Wire", lambda _: cast("Any", _Wire()))
    return Nodes()


class _Wire:
    def close(self) -> None:
        """Close nothing."""


async def test_a_moved_slot_is_followed(nodes: Nodes) -> None:
    """Nothing ran on the old master, so the command is sent again; other slots stay."""
    nodes.at[ONE].answers = [MovedError("7 two:2"), b"stayed"]
    nodes.at[TWO].answers = [b"moved"]
    await nodes.topology.masters()
    nodes.say((0, 6, b"one", 1), (7, 7, b"two", 2), (8, LAST, b"one", 1))
    assert await nodes.get(7) == b"moved"
    assert await nodes.get(8) == b"stayed"


async def test_a_node_without_a_name_is_where_it_was_asked(nodes: Nodes) -> None:
    """A node that does not know by which name clients reach it leaves the name out."""
    nodes.at[ONE].answers = [MovedError("7 :1"), b"here"]
    assert await nodes.get(7) == b"here"
    for unnamed in (None, b"", b"?"):
        fresh = Nodes()
        fresh.at[ONE].view = Node((0, LAST, unnamed, 1)).view
        fresh.at[TWO].view = fresh.at[ONE].view
        fresh.topology = Topology([ONE], lambda *address, at=fresh.at: cast("Redis", at[address]))
        fresh.at[ONE].answers = [b"here"]
        assert await fresh.get() == b"here"


async def test_a_slot_that_is_moving_is_asked_for_once(nodes: Nodes) -> None:
    """It goes to where its keys are by now; if only some of them are there, it is tried again."""
    nodes.at[ONE].answers = [AskError("0 two:2"), AskError("0 two:2"), TryAgainError("some")]
    nodes.at[TWO].answers = [b"there", TryAgainError("some")]
    assert await nodes.get() == b"there"
    for _ in range(2):
        with pytest.raises(SlotUnavailable, match="being moved") as raised:
            await nodes.get()
        assert not is_away(store_error(raised.value)), "other meetings are served"
    assert nodes.at[TWO].asked == [("ASKING",)] * 2


async def test_a_master_that_was_cut_off_is_not_believed_for_ever(nodes: Nodes) -> None:
    """It says that the cluster is down; the others know its successor."""
    await nodes.topology.masters()
    nodes.at[ONE].answers = [ClusterDownError("The cluster is down")]
    nodes.at[TWO].view = Node((0, LAST, b"two", 2)).view
    nodes.at[TWO].answers = [b"heir"]
    assert await nodes.get() == b"heir"


async def test_a_slot_that_nobody_serves_concerns_its_meetings_alone(nodes: Nodes) -> None:
    """A master that has just started says that the cluster is down, while the others serve."""
    for text in ("Hash slot not served", "The cluster is down"):
        nodes.at[ONE].answers = [ClusterDownError(text)]
        with pytest.raises(SlotUnavailable, match=text) as raised:
            await nodes.get()
        assert not is_away(store_error(raised.value))
    nodes.say((1, LAST, b"one", 1))
    await nodes.topology.masters()
    with pytest.raises(SlotUnavailable, match="slot 0"):
        await nodes.get()


async def test_a_master_that_is_away_is_looked_for_elsewhere(nodes: Nodes) -> None:
    """The command may have run, so it is not repeated; the next one finds the successor."""
    nodes.at[ONE].answers = [RedisConnectionError("refused")]
    with pytest.raises(OneMasterAway, match="one:1") as raised:
        await nodes.get()
    error = store_error(raised.value)
    assert error.connection_lost
    assert error.is_outage, "no event is given up for this"
    assert not is_away(error)
    nodes.at[ONE].view = cast("Any", RedisConnectionError("refused"))
    nodes.at[TWO].view = Node((0, LAST, b"two", 2)).view
    nodes.at[TWO].answers = [b"heir"]
    assert await nodes.get() == b"heir"
    assert nodes.at[ONE].closed, "it is listed no more"


async def test_a_cluster_that_cannot_be_reached_is_away_for_all(nodes: Nodes) -> None:
    """A server that is no Cluster is reported, too."""
    for problem in (RedisConnectionError("refused"), ResponseError("cluster support disabled")):
        for node in nodes.at.values():
            node.view = cast("Any", problem)
        with pytest.raises(type(problem)):
            await nodes.get()
    nodes.say()
    with pytest.raises(SlotUnavailable, match="no slot"):
        await nodes.get()


async def test_a_look_survives_the_caller_that_began_it(nodes: Nodes) -> None:
    """Callers share it, and one that is cancelled does not take it from the others."""
    go_on = asyncio.Event()
    node = nodes.at[ONE]
    nodes.topology = Topology([ONE], lambda *_: cast("Redis", node))
    answer = node.execute_command

    async def slowly(*args: Any) -> Any:
        await go_on.wait()
        return await answer(*args)

    node.execute_command = slowly  # type: ignore[method-assign]
    callers = [asyncio.create_task(nodes.topology.master_of(0)) for _ in range(2)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert (await callers[1]).address == ONE
    await nodes.topology.close()
    assert node.closed


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "lp:{m}:epoch"),
        ("EVALSHA", "digest", 2, "lp:{m}:epoch", "lp:{m}:fresh", "argument"),
        ("EVAL", "script", 1, b"lp:{m}:epoch"),
    ],
)
def test_all_commands_of_a_meeting_go_to_its_slot(command: tuple[Any, ...]) -> None:
    """Those without a key go to one slot, whose master keeps the clock."""
    assert slot_of(command) == slot_of(("GET", "m"))
    assert slot_of(("TIME",)) == slot_of(("PING",)) == slot_of(("GET", "lp:heartbeat"))
