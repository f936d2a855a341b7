"""Test the small steps of durability: bounds of memory and time, and the erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from pool.durability.fence_watch import FenceWatch
from pool.durability.rebinding import as_rebind
from pool.durability.recent_claims import RecentClaims
from pool.errors import StoreUnavailable
from pool.ledger.records import Binding
from pool.model.claims import claim_of_link
from pool.model.links import Booked, Claim, Link, State
from pool.model.times import to_ms
from pool.store.records import AnsweredClaim, PoolFence, payload
from tests.in_process import InProcess, until
from tests.integration.ledger_samples import NOW, report

HOUR = timedelta(hours=1)


def answered(number: int) -> AnsweredClaim:
    claim = Claim(slug=f"a-{number}", state="claimed", source="pool", claimed_at_ms=number)
    return AnsweredClaim(f"c{number}", claim, 1_000, b"payload")


def test_an_answer_is_kept_for_its_ten_seconds_to_the_last() -> None:
    """It is dropped after that, and an empty answer takes no memory."""
    clock = [50.0]
    recent = RecentClaims(lambda: clock[0])
    recent.remember("intro", [])
    assert recent.sids() == set()
    recent.remember("intro", [answered(1), answered(2)])
    clock[0] += 10.0
    assert recent.lately("intro") == [answered(1), answered(2)]
    assert recent.sids() == {"intro"}
    clock[0] += 0.001
    assert recent.lately("intro") == []
    assert recent._count == 0


@pytest.mark.parametrize("state", State)
def test_redis_holds_a_link_as_claimed_or_consumed(state: State) -> None:
    """The times are the ledger's, and the booking is included if it is known."""
    link = Link(
        "a-1", "u", "intro", state, "direct", "e", NOW, claimed_at=NOW + HOUR,
        consumed_at=NOW + 2 * HOUR, booking_sid="b",
    )  # fmt: skip
    claim = claim_of_link(link, report("a-1", "pending", sid="b", starts_at=NOW))
    assert claim == Claim(
        "a-1", "consumed" if state is State.CONSUMED else "claimed", "direct",
        to_ms(NOW + HOUR), to_ms(NOW + 2 * HOUR), "b", Booked("b", "pending", to_ms(NOW)),
    )  # fmt: skip


BINDING = Binding("ann", "a-1", State.CLAIMED, "pool", 1_000, 5_000, None, None, None)


@pytest.mark.parametrize(
    ("fields", "what", "ttl_ms"),
    [
        ({}, "bind", 3_000),
        ({"lapses_at_ms": 2_001}, "bind", 1),
        ({"lapses_at_ms": 2_000}, None, None),
        ({"lapses_at_ms": 1_999}, None, None),
        ({"state": State.CONSUMED, "lapses_at_ms": 1_999}, "bind", 0),
        ({"state": State.CANCELLED}, "drop", 0),
    ],
)
def test_a_binding_comes_back_for_the_time_that_is_left(
    fields: dict[str, Any], what: str | None, ttl_ms: int | None
) -> None:
    """A booked one for good; one whose time is over not at all."""
    rebind = as_rebind(replace(BINDING, **fields), 2_000)
    if what is None:
        assert rebind is None
    else:
        assert rebind is not None
        assert (rebind.what, rebind.ttl_ms, rebind.customer_id) == (what, ttl_ms, "ann")
        assert (rebind.claim.slug, rebind.claim.claimed_at_ms) == ("a-1", 1_000)


async def test_erased_customers_stay_dropped_however_many_there_are(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older file of Redis brought their bindings back; the others' stay."""
    monkeypatch.setattr("pool.durability.rebinding.CALL", 2)
    await product.meeting("intro")
    names = [f"c{number}" for number in range(6)]
    await product.stock("intro", *(f"a-{number}" for number in range(6)))
    await product.claim("intro", *names)
    held = {
        key: await product.redis.bare.get(key)
        async for key in product.redis.bare.scan_iter("lp:{intro}:*")
        if await product.redis.bare.type(key) == b"string"
    }
    await product.parts.recorder.record("intro")
    for who in names[:5]:
        await product.parts.erasure.forget("intro", who)
    await product.redis.restart()
    for key, value in held.items():
        await product.redis.bare.set(key, value)
    epoch_lost = product.store.recovery
    assert await epoch_lost.epoch("intro")
    await product.parts.recovery.recover("intro", grace_seconds=0.0)
    found = [await product.store.claim_of("intro", who) for who in names]
    assert [claim and claim.slug for claim in found] == [None] * 5 + ["a-5"]


# -- the watch over fences ---------------------------------------------------------------------


async def watch(product: InProcess, clock: list[float]) -> tuple[FenceWatch, RecentClaims]:
    """Return a watch over a claim that was answered just now."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.claim("intro", "ann")
    held = await product.store.claim_of("intro", "ann")
    assert held is not None
    recent = RecentClaims(lambda: clock[0])
    recent.remember("intro", [AnsweredClaim("ann", held, 60_000, payload("ann"))])
    return FenceWatch(product.store, recent, lambda: clock[0]), recent


async def test_claims_are_asserted_again_once_for_each_loss(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That holds however often the fence is found fallen; after a failure it is at once."""
    clock, asserted = [100.0], list[int]()
    watching, recent = await watch(product, clock)
    failing = [True]

    async def again(_sid: str, claims: list[AnsweredClaim]) -> int:
        asserted.append(len(claims))
        if failing[0]:
            raise StoreUnavailable("Redis: away")
        return 0

    async def meet() -> list[int]:
        watching.fallen("intro")
        await until(lambda: not watching._tasks)
        return asserted

    monkeypatch.setattr(product.store, "assert_again", again)
    await meet()
    failing[0] = False
    assert await meet() == [1, 1]
    for passed in (0.0, 0.19, 0.02, 5.0):
        clock[0] += passed
        assert await meet() == [1, 1]
    # Redis loses its data once more: what was asserted a moment ago, too.
    await product.redis.bare.flushall()
    clock[0] += 0.2
    assert await meet() == [1, 1, 1]
    # What is answered after that is all that it lacks.
    recent.remember("intro", recent.lately("intro") * 2)
    clock[0] += 0.2
    assert await meet() == [1, 1, 1, 2]
    await product.redis.bare.flushall()
    clock[0] += 0.2
    assert await meet() == [1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("looks", "asserted"),
    [
        ([("stands", "one"), ("stands", "one")], 0),
        ([("fallen", "one")], 1),
        ([("sealed", "one"), ("sealed", "one")], 0),
        ([("stands", "one"), ("stands", "two")], 1),
        ([("stands", "one"), ("sealed", "x"), ("stands", "two")], 1),
        ([("stands", "one"), ("sealed", "x"), ("stands", "one")], 0),
        ([("stands", "one"), ("stands", "two"), ("stands", "two")], 1),
    ],
)
async def test_a_fence_that_fell_between_two_looks_is_noticed(
    product: InProcess,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[tuple[str, str]],
    asserted: int,
) -> None:
    """It stands again, but under another epoch."""
    clock, fallen = [100.0], list[str]()
    watching, _ = await watch(product, clock)
    answers: list[Any] = [[PoolFence("intro", fence, epoch)] for fence, epoch in looks]  # type: ignore[arg-type]

    async def fences(sids: list[str]) -> list[PoolFence]:
        assert sids == ["intro"]
        found: list[PoolFence] = answers.pop(0)
        return found

    monkeypatch.setattr(product.store.recovery, "fences", fences)
    monkeypatch.setattr(watching, "fallen", lambda sid, **_: fallen.append(sid))
    while answers:
        await watching.look()
    assert fallen == ["intro"] * asserted


# -- screening ---------------------------------------------------------------------------------


async def test_an_erased_customers_listed_bookings_go_by_pseudonyms(product: InProcess) -> None:
    """Nothing personal is kept, and others' bookings stay, even with the same names elsewhere."""
    from dataclasses import replace as with_

    from tests.unit.test_matcher import EVENT

    await product.meeting("intro")
    await product.stock("intro", "link-1")
    await product.claim("intro", "cust-0001")
    await product.parts.recorder.record("intro")
    await product.book("link-1", sid="b-1")
    await product.parts.erasure.forget("intro", "cust-0001")
    theirs = with_(
        EVENT, booking_sid="b-1", provider_id="7", parent_sid=None, email="a@x.test",
        time_zone="UTC", manage_url="https://a.test", starts_at=datetime.now(UTC),
    )  # fmt: skip
    child = with_(EVENT, booking_sid="b-2", parent_sid="b-1", email="a@x.test")
    other = with_(EVENT, booking_sid="b-3", email="b@x.test")
    known_as = product.parts.erasure.known_as
    one, two, three = await known_as("default", [theirs, child, other])
    name = product.store.names.marks.pseudonym
    assert (one.booking_sid, one.provider_id, one.parent_sid) == (
        name("default", "b-1"), name("default", "7"), None,
    )  # fmt: skip
    assert (one.email, one.time_zone, one.manage_url) == (None, None, None)
    assert one.starts_at == theirs.starts_at
    assert (two.booking_sid, two.parent_sid, two.email) == (
        name("default", "b-2"), name("default", "b-1"), None,
    )  # fmt: skip
    assert three == other
    assert await known_as("another", [theirs]) == [theirs]
    assert await known_as("default", []) == []
