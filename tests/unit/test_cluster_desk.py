"""Test when the desks of a Redis Cluster's masters send the claims that came in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from pool.claims.cluster_desk import TURNS, ClusterDesk
from pool.claims.queue import Receipt
from pool.errors import StoreUnavailable


class Masters:
    """Stands for a store: `a` and `b` are on two masters, and nobody answers before `answer`."""

    is_cluster = True

    def __init__(self) -> None:
        self.names = SimpleNamespace(name=lambda sid, customer: f"{sid}/{customer}")
        self.calls: list[tuple[str, list[str]]] = []  # the pool, and the customers' names
        self.turns: list[int] = []  # in which they were made
        self.turn = 0
        self._replies: list[Callable[[Any], None]] = []

    def master_of(self, pool: str) -> object:
        return pool

    def claims_together(self) -> Any:
        return nullcontext()

    def claim_at_once(
        self, pool: str, customers: list[tuple[str, bytes]], reply: Callable[[Any], None]
    ) -> Callable[[], None]:
        self.calls.append((pool, [name for name, _ in customers]))
        self.turns.append(self.turn)
        self._replies.append(reply)
        return lambda: None

    def answer(self) -> None:
        """End all calls; it does not matter with what."""
        replies, self._replies = self._replies, []
        for reply in replies:
            reply(StoreUnavailable("gone"))


@pytest.fixture
def masters() -> Masters:
    return Masters()


@pytest.fixture
def desk(masters: Masters) -> ClusterDesk:
    known: Any = SimpleNamespace(spread={}, get=lambda _sid: None)
    listener: Any = SimpleNamespace(batch=lambda _size: None, outcome=lambda *_: None)
    nobody: Any = None
    store: Any = masters
    return ClusterDesk(store, known, nobody, nobody, listener, timeout_seconds=5.0)


def join(desk: ClusterDesk, sid: str, customer: str) -> asyncio.Future[Receipt]:
    waiter: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    waiter.add_done_callback(lambda ended: ended.exception())
    desk.join(waiter, sid, customer)
    return waiter


async def turns(masters: Masters, count: int) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
        masters.turn += 1


async def test_claims_that_come_in_the_next_turns_are_sent_together(
    masters: Masters, desk: ClusterDesk
) -> None:
    """All masters get theirs in one turn, and each pool in one call."""
    join(desk, "a", "1")
    await turns(masters, 1)
    join(desk, "b", "2")
    await turns(masters, 1)
    join(desk, "a", "3")
    await turns(masters, 6)
    assert sorted(masters.calls) == [("a", ["a/1", "a/3"]), ("b", ["b/2"])]
    assert len(set(masters.turns)) == 1


async def test_a_claim_alone_is_sent_two_turns_later(masters: Masters, desk: ClusterDesk) -> None:
    """It waits for two turns of the loop, and not for a timer."""
    join(desk, "a", "1")
    await turns(masters, 1)
    assert masters.calls == []
    await turns(masters, 1)
    assert masters.calls == [("a", ["a/1"])]


async def test_claims_that_keep_coming_hold_up_nobody(masters: Masters, desk: ClusterDesk) -> None:
    """The desk waits for a few turns only, whatever claims come in them."""
    for number in range(50):
        join(desk, "ab"[number % 2], str(number))
        await turns(masters, 1)
        if masters.calls:
            break
    assert masters.turn <= TURNS + 2
    assert {pool for pool, _ in masters.calls} == {"a", "b"}


async def test_a_master_that_does_not_answer_holds_up_no_other(
    masters: Masters, desk: ClusterDesk
) -> None:
    """Its call is under way, and the other master's is sent."""
    join(desk, "a", "1")
    await turns(masters, 4)
    join(desk, "b", "2")
    await turns(masters, 4)
    assert masters.calls == [("a", ["a/1"]), ("b", ["b/2"])]


async def test_what_is_about_to_be_sent_is_waited_for_at_the_end(
    masters: Masters, desk: ClusterDesk
) -> None:
    """Closing the desk loses no claim that had joined."""
    joined = join(desk, "a", "1")
    await turns(masters, 1)
    closing = asyncio.create_task(desk.close())
    await turns(masters, 6)
    assert not closing.done()
    masters.answer()
    await closing
    assert isinstance(joined.exception(), StoreUnavailable)
