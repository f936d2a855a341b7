"""Test what an API process does when a fence has fallen."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pool.durability.fence_watch import FenceWatch
from pool.durability.recent_claims import RecentClaims
from pool.errors import Fenced, StoreUnavailable
from pool.model.links import Claim
from pool.store.asserted import Mark
from pool.store.records import AnsweredClaim, PoolFence, payload


class _Store:
    """Takes claims that are asserted again."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.first: list[str] = []  # customer of each call
        self.away = False
        self.fences = _Fences()
        self.recovery = SimpleNamespace(fences=self.fences)
        self.asserted = _Marks()

    async def assert_again(self, _sid: str, claims: Sequence[AnsweredClaim]) -> int:
        """Count the claims. Raise StoreUnavailable while Redis is away."""
        await asyncio.sleep(0)
        self.calls.append(len(claims))
        self.first += [claims[0].customer_id]
        if self.away:
            raise StoreUnavailable("Redis is away")
        return 0


class _Marks:
    """Marks that stand until Redis forgets them."""

    def __init__(self) -> None:
        self.held: list[str] = []

    async def begin(self, _pool: str, mark: Mark) -> None:
        self.held = [mark.nonce]

    async def done(self, _pool: str, mark: Mark) -> None:
        self.held.append(mark.done)

    async def stand(self, _pool: str, mark: Mark) -> bool:
        return bool(self.held) and (self.held[0], self.held[-1]) == (mark.nonce, mark.done)


def _watch(store: Any, now: list[float]) -> FenceWatch:
    recent_claims = RecentClaims(clock=lambda: now[0])
    claim = Claim(slug="a-1", state="claimed", source="pool", claimed_at_ms=1)
    recent_claims.remember("intro", [AnsweredClaim("ann", claim, 60_000, payload("ann"))])
    return FenceWatch(store, recent_claims, clock=lambda: now[0])


class _Fences:
    """Fences as a test sets them."""

    def __init__(self) -> None:
        self.fences: list[PoolFence] = []
        self.asked: list[str] = []

    async def __call__(self, sids: Sequence[str]) -> list[PoolFence]:
        self.asked = list(sids)
        return self.fences


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_claims_that_meet_a_fallen_fence_assert_again_once() -> None:
    """They do so again as soon as Redis has forgotten again."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    for _ in range(50):
        watch.fallen("intro")
    await _turns()
    assert store.calls == [1]
    now[0] += 3.0
    watch.fallen("intro")
    await _turns()
    assert store.calls == [1], "Redis has it"
    store.asserted.held.clear()
    now[0] += 0.2
    watch.fallen("intro")
    await _turns()
    assert store.calls == [1, 1]


async def test_the_latest_claims_are_asserted_first() -> None:
    """They are the ones that the ledger may lack, and the pool may be recovered before the last."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    claim = Claim(slug="a-2", state="claimed", source="pool", claimed_at_ms=2)
    many = [AnsweredClaim(f"c{n}", claim, 60_000, b"") for n in range(450)]
    watch._recent_claims.remember("intro", many)
    watch.fallen("intro")
    await _turns()
    assert store.calls == [51, 200, 200]
    assert store.first == ["c399", "c199", "ann"]


async def test_what_is_under_way_is_given_up_as_all_is_asserted() -> None:
    """No answer lies between: what the desks still gave is asserted, and they give no more.

    A fence that is found standing again spares the claims that came since the last look.
    """
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    given_up: list[tuple[str, float]] = []

    def give_up(pool: str, before: float) -> None:
        given_up.append((pool, before))
        claim = Claim(slug="a-2", state="claimed", source="pool", claimed_at_ms=2)
        recent = watch._recent_claims
        recent.remember("intro", [AnsweredClaim("bob", claim, 60_000, payload("bob"))])

    watch.gives_up(give_up)
    watch.fallen("intro")
    await _turns()
    assert (given_up, store.calls) == ([("intro", math.inf)], [2])
    store.fences.fences = [PoolFence("intro", "stands", "a")]
    await watch.look()
    now[0] += 0.4
    store.asserted.held.clear()
    store.fences.fences = [PoolFence("intro", "stands", "b")]
    await watch.look()
    await _turns()
    assert (given_up[1:], store.calls) == ([("intro", 100.0)], [2, 3])


async def test_an_answer_that_cannot_be_given_up_is_asserted_before_it_is_given() -> None:
    """Only if the fence fell since it was asked for."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    before = watch.assertion("intro")
    await watch.catch_up("intro", before)
    assert store.calls == []
    watch.fallen("intro")
    await _turns()
    claim = Claim(slug="a-2", state="claimed", source="pool", claimed_at_ms=2)
    watch._recent_claims.remember("intro", [AnsweredClaim("bob", claim, 1, payload("bob"))])
    await watch.catch_up("intro", before)
    assert store.calls == [1, 1]
    store.away, before = True, None
    store.asserted.held.clear()
    with pytest.raises(Fenced):
        await watch.catch_up("intro", before)


async def test_what_could_not_be_asserted_is_at_the_next_claim() -> None:
    """A Redis that went away in between is no reason to wait."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    store.away = True
    watch.fallen("intro")
    await _turns()
    store.away = False
    watch.fallen("intro")
    await _turns()
    assert store.calls == [1, 1]


async def test_a_fence_that_falls_twice_in_a_row_is_not_passed_over() -> None:
    """The master of the moment between may have answered claims that its successor lacks."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    for epoch in ("a", "b", "c"):  # two fail-overs within two seconds, each recovered by then
        store.asserted.held.clear()
        store.fences.fences = [PoolFence("intro", "stands", epoch)]
        await watch.look()
        await _turns()
        now[0] += 0.5
    assert store.calls == [1, 1]
    now[0] += 3.0
    await watch.look()
    await _turns()
    assert store.calls == [1, 1], "nothing is owed any more"


async def test_what_could_not_be_asserted_is_at_the_next_look() -> None:
    """The pool is recovered by then, so that no claim meets a fallen fence."""
    store, now = _Store(), [100.0]
    watch = _watch(store, now)
    store.fences.fences = [PoolFence("intro", "stands", "a")]
    await watch.look()
    store.away = True
    store.fences.fences = [PoolFence("intro", "stands", "b")]
    await watch.look()
    await _turns()
    store.away = False
    await watch.look()
    await _turns()
    assert store.calls == [1, 1]


@pytest.mark.parametrize(
    ("seen", "asserted"),
    [
        ([PoolFence("intro", "stands", "a"), PoolFence("intro", "stands", "a")], 0),
        ([PoolFence("intro", "stands", "a"), PoolFence("intro", "sealed", "sealed:a")], 0),
        ([PoolFence("intro", "fallen", "")], 1),
        # Recovered between two looks: nobody saw that it had fallen.
        ([PoolFence("intro", "stands", "a"), PoolFence("intro", "stands", "b")], 1),
    ],
)
async def test_a_look_finds_what_fell_since_the_last(seen: list[PoolFence], asserted: int) -> None:
    """A fallen fence is found at a meeting without claims, too."""
    store = _Store()
    watch = _watch(store, [100.0])
    for standing in seen:
        store.fences.fences = [standing]
        await watch.look()
    await _turns()
    assert store.fences.asked == ["intro"]
    assert store.calls == [1] * asserted


async def test_looking_after_very_many_fences_fell_takes_no_square_of_their_number() -> None:
    """Claims wait while it lasts, and it comes again every 0.4 s until the claims are old."""
    store = _Store()
    watch = _watch(store, [100.0])
    pools = [f"m{number}" for number in range(10_000)]
    store.fences.fences = [PoolFence(each, "fallen", "") for each in pools]
    await watch.look()
    await _turns()
    store.fences.fences = [PoolFence(each, "stands", "an epoch") for each in pools]
    began = time.process_time()
    await watch.look()
    assert time.process_time() - began < 0.2
