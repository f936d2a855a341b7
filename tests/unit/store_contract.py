"""Hold any Redis to its promises to the store: each script, and each way it can end.

The tests of this file are imported by others, which run them on a fake Redis and on every real
server that is available. The importing module defines `any_redis`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pool.errors import Fenced, StoreUnavailable, UnknownMeeting
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store import Store, key_names, scripts
from pool.store.records import (
    Outcome,
    payload,
)
from tests.any_redis import AnyRedis

SID = "intro"
TTL_SECONDS = 3_600

NEW, REUSED, EMPTY = Outcome.NEW, Outcome.REUSED, Outcome.EMPTY
PAUSED, LIMITED = Outcome.PAUSED, Outcome.LIMITED

Fall = Callable[[AnyRedis], Awaitable[object]]
# Each makes the fence fall.
FALLS: dict[str, Fall] = {
    "another run_id": lambda redis: redis.restart(),
    "another master_replid": lambda redis: redis.fail_back(),
    "no epoch": lambda redis: redis.bare.delete(key_names.epoch(SID)),
    "sealed": lambda redis: redis.store.recovery.seal(SID, "a" * 32),
}
every_fall = pytest.mark.parametrize("fall", FALLS.values(), ids=FALLS)


async def open_pool(redis: AnyRedis, *slugs: str, sid: str = SID, **settings: Any) -> str:
    """Publish a meeting and open its pool with these links, the first being the oldest."""
    store = redis.store
    await store.published.put([Meeting(sid, claim_ttl_seconds=TTL_SECONDS, **settings)])
    async with store.locks.held(key_names.recovery_lock(sid), seconds=10) as lock:
        assert lock is not None
        identity = await store.recovery.begin(sid, lock.token, keep_fresh=False)
        await store.recovery.open(sid, lock.token, identity, "nonce")
    epoch = f"{identity}:nonce"
    for made_at, slug in enumerate(slugs, 1_000):
        await store.add(sid, epoch, [slug], made_at)
    return epoch


def customer(store: Store, customer_id: str, sid: str = SID) -> tuple[str, bytes]:
    return store.names.name(sid, customer_id), payload(customer_id)


async def claim(redis: AnyRedis, *customers: str, sid: str = SID) -> list[tuple[Outcome, str]]:
    """Claim in one batch. Return the outcome and the slug for each."""
    batch = await redis.store.claim(sid, [customer(redis.store, who, sid) for who in customers])
    return [(each.outcome, each.claim.slug if each.claim else "") for each in batch.answers]


async def fresh(redis: AnyRedis, sid: str = SID) -> list[str]:
    return [slug.decode() for slug in await redis.bare.zrange(key_names.fresh(sid), 0, -1)]


def binding_key(redis: AnyRedis, customer_id: str) -> str:
    return key_names.binding(SID, redis.store.names.name(SID, customer_id))


def held_claim(slug: str, **fields: Any) -> Claim:
    values: dict[str, Any] = {"state": "claimed", "source": "pool", "claimed_at_ms": 1_000}
    return Claim(slug=slug, **values | fields)


def booked(slug: str) -> Claim:
    return held_claim(slug, state="consumed", consumed_at_ms=2_000, booking_sid="b1")


# -- claim -------------------------------------------------------------------------


async def test_a_new_customer_gets_a_fresh_link(any_redis: AnyRedis) -> None:
    """The link leaves the pool, is bound for the meeting's claim_ttl, and is returned in full."""
    await open_pool(any_redis, "one-off-1", "one-off-2")
    before = time.time() * 1000
    batch = await any_redis.store.claim(SID, [customer(any_redis.store, "ann")])
    [answer] = batch.answers
    assert answer.outcome is NEW
    assert answer.claim is not None
    assert (answer.claim.slug, answer.claim.state, answer.claim.source) == (
        "one-off-1",
        "claimed",
        "pool",
    )
    assert before - 2 <= answer.claim.claimed_at_ms <= time.time() * 1000 + 2
    assert batch.level == 1
    assert await fresh(any_redis) == ["one-off-2"]
    assert await any_redis.store.claim_of(SID, "ann") == answer.claim
    left_ms = await any_redis.bare.pttl(binding_key(any_redis, "ann"))
    assert TTL_SECONDS * 1000 - 5_000 < left_ms <= TTL_SECONDS * 1000


async def test_the_recorder_gets_all_of_a_claim(any_redis: AnyRedis) -> None:
    """The stream carries slug, customer, e-mail, metadata, source and the time answered."""
    await open_pool(any_redis, "one-off-1")
    store = any_redis.store
    document = payload("ann", "ann@example.com", {"lead": [1, "ü"]})
    batch = await store.claim(SID, [(store.names.name(SID, "ann"), document)])
    assert batch.answers[0].claim is not None
    [streamed] = await store.stream.unrecorded(SID, 10)
    assert (streamed.slug, streamed.customer_id, streamed.source) == ("one-off-1", "ann", "pool")
    assert (streamed.email, streamed.metadata) == ("ann@example.com", {"lead": [1, "ü"]})
    assert streamed.claimed_at_ms == batch.answers[0].claim.claimed_at_ms


async def test_a_customer_keeps_their_link(any_redis: AnyRedis) -> None:
    """A second claim costs nothing: the same answer, no link, no entry in the stream."""
    await open_pool(any_redis, "one-off-1", "one-off-2")
    first = await claim(any_redis, "ann")
    before = await any_redis.everything()
    assert await claim(any_redis, "ann") == [(REUSED, first[0][1])]
    assert await any_redis.everything() == before


async def test_a_batch_repeated_after_a_lost_reply_uses_no_more_links(
    any_redis: AnyRedis,
) -> None:
    """Customers who got a link by the lost call get the same one."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", "a-4")
    first = await claim(any_redis, "ann", "bob", "cyd")
    again = await claim(any_redis, "ann", "bob", "cyd")
    assert [slug for _, slug in again] == [slug for _, slug in first]
    assert await fresh(any_redis) == ["a-4"]
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 3


async def test_the_oldest_link_goes_first(any_redis: AnyRedis) -> None:
    """The oldest link goes first, in whatever order the links entered."""
    epoch = await open_pool(any_redis)
    for slug, made_at in [("a-2", 2_000), ("a-9", 1_000), ("a-1", 3_000)]:
        await any_redis.store.add(SID, epoch, [slug], made_at)
    assert await claim(any_redis, "ann", "bob") == [(NEW, "a-9"), (NEW, "a-2")]
    assert await claim(any_redis, "cyd") == [(NEW, "a-1")]


async def test_a_customer_twice_in_a_batch_gets_one_link(any_redis: AnyRedis) -> None:
    """The first claim is marked as new, the others as repeated."""
    await open_pool(any_redis, "a-1", "a-2")
    assert await claim(any_redis, "ann", "bob", "ann", "ann") == [
        (NEW, "a-1"),
        (NEW, "a-2"),
        (REUSED, "a-1"),
        (REUSED, "a-1"),
    ]
    assert await claim(any_redis, "cyd", "cyd") == [(EMPTY, ""), (EMPTY, "")]


async def test_a_pool_that_runs_out_serves_who_came_first(any_redis: AnyRedis) -> None:
    """The other customers get the empty outcome, and nothing is bound for them."""
    await open_pool(any_redis, "a-1", "a-2")
    outcomes = await claim(any_redis, "ann", "bob", "cyd", "dan")
    assert outcomes == [(NEW, "a-1"), (NEW, "a-2"), (EMPTY, ""), (EMPTY, "")]
    assert await any_redis.store.claim_of(SID, "cyd") is None


async def test_a_full_batch_is_served(any_redis: AnyRedis) -> None:
    """A batch of the greatest size gives each customer a link of their own."""
    slugs = [f"a-{n:03}" for n in range(64)]
    await open_pool(any_redis, *slugs)
    outcomes = await claim(any_redis, *(f"c{n}" for n in range(64)))
    assert outcomes == [(NEW, slug) for slug in slugs]


async def test_a_paused_meeting_gives_no_new_links(any_redis: AnyRedis) -> None:
    """Customers who hold a link still get it; the others get the paused outcome."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.store.published.put([Meeting(SID, paused=True)])
    assert await claim(any_redis, "ann", "bob", "bob") == [
        (REUSED, "a-1"),
        (PAUSED, ""),
        (PAUSED, ""),
    ]
    assert await fresh(any_redis) == ["a-2"]


async def test_a_limited_customer_gets_no_new_link(any_redis: AnyRedis) -> None:
    """An empty payload asks for the link held, and for no other; others are not affected."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    store = any_redis.store
    limited = [(store.names.name(SID, who), b"") for who in ("ann", "bob")]
    batch = await store.claim(SID, [*limited, customer(store, "cyd")])
    assert [each.outcome for each in batch.answers] == [REUSED, LIMITED, NEW]
    assert await store.claim_of(SID, "bob") is None


async def public_claim(redis: AnyRedis, *customers: str) -> list[tuple[Outcome, str]]:
    """Claim above the reserve in one batch. Return the outcome and the slug for each."""
    store = redis.store.above_reserve()
    batch = await store.claim(SID, [customer(store, who) for who in customers])
    return [(each.outcome, each.claim.slug if each.claim else "") for each in batch.answers]


async def test_public_claims_leave_the_reserve(any_redis: AnyRedis) -> None:
    """A batch gets what stands above it, in order; those who hold a link keep it."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", "a-4", reserve=2)
    first = await public_claim(any_redis, "ann", "bob", "cyd", "ann")
    assert first == [(NEW, "a-1"), (NEW, "a-2"), (EMPTY, ""), (REUSED, "a-1")]
    before = await any_redis.everything()
    assert await public_claim(any_redis, "bob") == [(REUSED, "a-2")]
    assert await any_redis.everything() == before
    assert await public_claim(any_redis, "dan", "eve") == [(EMPTY, ""), (EMPTY, "")]
    assert await fresh(any_redis) == ["a-3", "a-4"]
    assert await claim(any_redis, "dan", "eve") == [(NEW, "a-3"), (NEW, "a-4")]
    assert await public_claim(any_redis, "fay") == [(EMPTY, "")]
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 4


async def test_refused_public_claims_are_no_demand(any_redis: AnyRedis) -> None:
    """A drained reserve does not drive the target up; those who get a link count as ever."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", reserve=2)

    async def rate() -> float:
        [level] = await any_redis.store.look([SID])
        return level.claims_per_second

    await public_claim(any_redis, "ann", "bob", "cyd")
    of_one = await rate()
    assert 0 < of_one < 0.04  # one claim in a while of 30 s, not three
    before = await any_redis.bare.hgetall(key_names.demand(SID))
    for each in range(20):
        assert (await public_claim(any_redis, f"dan-{each}"))[0][0] is EMPTY
    assert await any_redis.bare.hgetall(key_names.demand(SID)) == before
    await claim(any_redis, "eve", "fay", "gil")  # a claim with an API key counts, link or not
    assert await rate() > 3 * of_one


async def test_new_visitors_are_counted_for_all_processes(any_redis: AnyRedis) -> None:
    """They count per address and per meeting; a refused one counts in neither, and a count can be
    given back.
    """
    here, there = any_redis.store.visitor_limits, any_redis.store.above_reserve().visitor_limits
    for limits in (here, there):
        assert await limits.admit(SID, "192.0.2.1", 3, 2) == 0
    assert 29 < await there.admit(SID, "192.0.2.1", 3, 2) <= 30
    assert await here.admit(SID, "192.0.2.2", 3, 2) == 0
    assert 19 < await here.admit(SID, "192.0.2.3", 3, 2) <= 20
    await there.give_back(SID, "192.0.2.2", 3, 2)
    assert await here.admit(SID, "192.0.2.3", 3, 2) == 0
    await here.give_back(SID, "192.0.2.9", 0, 2)  # who was never counted
    assert await there.admit("another", "192.0.2.1", 3, 2) == 0
    for _ in range(9):
        assert await here.admit(SID, "192.0.2.1", 0, 0) == 0
    # On a Cluster a pattern is asked for where its hash tag lies.
    names = [
        name
        for sid in (SID, "another")
        for name in await any_redis.bare.keys(f"lp:{{{sid}}}:visitors*")
    ]
    assert len(names) == 5
    assert not [name for name in names if b"192" in name]
    assert all([0 < await any_redis.bare.pttl(name) <= 60_000 for name in names])


@pytest.mark.parametrize("reserve", [0, 1, 3, 4])
async def test_a_reserve_holds_at_each_level(any_redis: AnyRedis, reserve: int) -> None:
    """No public claim takes a link while `reserve` or fewer are there; none off means all."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", reserve=reserve)
    found = [(await public_claim(any_redis, who))[0][0] for who in ("ann", "bob", "cyd", "dan")]
    assert found.count(NEW) == max(0, 3 - reserve)
    assert len(await fresh(any_redis)) == min(3, reserve)


async def test_a_pool_published_without_a_reserve_has_none(any_redis: AnyRedis) -> None:
    """An older release publishes such pools."""
    await open_pool(any_redis, "a-1")
    await any_redis.bare.hdel(key_names.meeting(SID), "reserve")
    assert await public_claim(any_redis, "ann") == [(NEW, "a-1")]


@every_fall
async def test_public_claims_stand_behind_the_fence(any_redis: AnyRedis, fall: Fall) -> None:
    await open_pool(any_redis, "a-1", reserve=0)
    await fall(any_redis)
    with pytest.raises((Fenced, UnknownMeeting)):
        await public_claim(any_redis, "ann")


async def test_keyed_claims_run_a_script_that_knows_no_reserve() -> None:
    """Public claims have another script, which ends in the very text of the first."""
    assert "reserve" not in scripts.source("claim")
    assert scripts.source("public_claim").endswith(scripts.part("claim"))


async def test_an_unpublished_meeting_is_unknown(any_redis: AnyRedis) -> None:
    """A Redis without the meeting's settings hands out nothing of it."""
    await open_pool(any_redis, "a-1")
    await any_redis.bare.delete(key_names.meeting(SID))
    before = await any_redis.everything()
    with pytest.raises(UnknownMeeting):
        await claim(any_redis, "ann")
    assert await any_redis.everything() == before


@every_fall
async def test_a_fallen_fence_hands_out_nothing(any_redis: AnyRedis, fall: Fall) -> None:
    """Neither fresh links nor bound ones are handed out, and nothing is written."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await fall(any_redis)
    before = await any_redis.everything()
    for who in ("ann", "bob"):
        with pytest.raises(Fenced) as fenced:
            await claim(any_redis, who)
        assert fenced.value.sid == SID
    assert await any_redis.everything() == before


@pytest.mark.parametrize("setting", ["same", "new"])
async def test_who_booked_gets_what_the_meeting_says(any_redis: AnyRedis, setting: str) -> None:
    """With `same` it is the booked link, and with `new` another one."""
    await open_pool(any_redis, "a-1", "a-2", after_booking=setting)
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", booked("a-1"))
    expected = (REUSED, "a-1") if setting == "same" else (NEW, "a-2")
    assert await claim(any_redis, "ann") == [expected]
    assert await claim(any_redis, "ann") == [(REUSED, expected[1])]


async def test_a_booked_link_is_answered_with_its_booking(any_redis: AnyRedis) -> None:
    """The answer says that it is consumed, since when and by which booking."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", booked("a-1"))
    batch = await any_redis.store.claim(SID, [customer(any_redis.store, "ann")])
    assert batch.answers[0].claim == booked("a-1")


async def test_a_low_pool_asks_for_links_once_a_second(any_redis: AnyRedis) -> None:
    """Only claims of new links below the target ask, and not twice within a second."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", "a-4", min_fresh=3)
    store = any_redis.store

    async def nudged(who: str) -> bool:
        return (await store.claim(SID, [customer(store, who)])).nudge

    assert not await nudged("ann"), "three are left: the pool is at its target"
    assert await nudged("bob")
    assert not await nudged("cyd")
    assert 0 < await any_redis.bare.pttl(key_names.nudged(SID)) <= 1_000
    await any_redis.bare.delete(key_names.nudged(SID))
    assert not await nudged("ann"), "she holds a link"
    assert await nudged("dan")
    await any_redis.bare.delete(key_names.nudged(SID))
    assert await nudged("eve"), "an empty pool asks, too"


async def test_the_target_that_top_up_sets_counts(any_redis: AnyRedis) -> None:
    """Publishing the meeting again does not set it back."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", min_fresh=0)
    await any_redis.store.published.set_targets({SID: 3})
    await any_redis.store.published.put([Meeting(SID, min_fresh=0)])
    assert (await any_redis.store.claim(SID, [customer(any_redis.store, "ann")])).nudge


async def test_a_batch_with_too_few_payloads_changes_nothing(any_redis: AnyRedis) -> None:
    """The script refuses before it writes."""
    await open_pool(any_redis, "a-1", "a-2")
    before = await any_redis.everything()
    script_keys = [
        *(
            kind(SID)
            for kind in (key_names.epoch, key_names.fresh, key_names.claims, key_names.meeting)
        ),
        *(kind(SID) for kind in (key_names.demand, key_names.nudged)),
        binding_key(any_redis, "ann"),
        binding_key(any_redis, "bob"),
    ]
    with pytest.raises(StoreUnavailable, match="one payload per binding"):
        await scripts.run(any_redis.bare, "claim", script_keys, ["echo", payload("ann")])
    assert await any_redis.everything() == before


async def test_meetings_do_not_touch_each_other(any_redis: AnyRedis) -> None:
    """One customer holds a link of each, and neither pool knows the other."""
    await open_pool(any_redis, "a-1")
    await open_pool(any_redis, "b-1", sid="demo")
    assert await claim(any_redis, "ann") == [(NEW, "a-1")]
    assert await claim(any_redis, "ann", sid="demo") == [(NEW, "b-1")]
    assert await claim(any_redis, "bob") == [(EMPTY, "")]


async def test_claims_at_once_share_no_link(any_redis: AnyRedis) -> None:
    """Of fifty customers who claim thirty links at once, twenty find the pool empty."""
    slugs = [f"a-{n:02}" for n in range(30)]
    await open_pool(any_redis, *slugs)
    answers = await asyncio.gather(*(claim(any_redis, f"c{n}") for n in range(50)))
    got = [slug for [(outcome, slug)] in answers if outcome is NEW]
    assert sorted(got) == slugs
    assert sum(outcome is EMPTY for [(outcome, _)] in answers) == 20


async def test_no_customer_id_is_in_the_name_of_a_key(any_redis: AnyRedis) -> None:
    """Keys carry a keyed hash of fixed size."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann@example.com", "b" * 256)
    names = [
        key.decode().rsplit(":", 1)[1] async for key in any_redis.bare.scan_iter("lp:{intro}:b:*")
    ]
    assert [len(name) for name in names] == [16, 16]
    assert not any("ann" in name for name in names)


# -- bind --------------------------------------------------------------------------


async def bind(
    redis: AnyRedis, epoch: str, slug: str, who: str = "ann"
) -> tuple[Outcome, str | None]:
    store = redis.store
    answer = await store.bind(SID, epoch, slug, *customer(store, who))
    return answer.outcome, answer.claim.slug if answer.claim else None


async def test_a_link_made_on_the_spot_is_bound(any_redis: AnyRedis) -> None:
    """It goes to the customer and to the recorder, marked as direct, and never to the pool."""
    epoch = await open_pool(any_redis)
    assert await bind(any_redis, epoch, "d-1") == (NEW, "d-1")
    held = await any_redis.store.claim_of(SID, "ann")
    assert held is not None
    assert held.source == "direct"
    [streamed] = await any_redis.store.stream.unrecorded(SID, 10)
    assert (streamed.slug, streamed.customer_id, streamed.source) == ("d-1", "ann", "direct")
    assert streamed.claimed_at_ms == held.claimed_at_ms
    assert await fresh(any_redis) == []
    assert 0 < await any_redis.bare.pttl(binding_key(any_redis, "ann")) <= TTL_SECONDS * 1000
    assert await claim(any_redis, "ann") == [(REUSED, "d-1")]


async def test_binding_the_same_link_again_answers_the_same(any_redis: AnyRedis) -> None:
    """Nothing is written a second time."""
    epoch = await open_pool(any_redis)
    await bind(any_redis, epoch, "d-1")
    before = await any_redis.everything()
    assert await bind(any_redis, epoch, "d-1") == (NEW, "d-1")
    assert await any_redis.everything() == before


async def test_a_link_made_for_someone_who_has_one_enters_the_pool(any_redis: AnyRedis) -> None:
    """The customer keeps theirs, and the next one gets the link nobody has seen."""
    epoch = await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    assert await bind(any_redis, epoch, "d-1") == (REUSED, "a-1")
    assert await fresh(any_redis) == ["d-1"]
    assert await claim(any_redis, "bob") == [(NEW, "d-1")]


async def test_a_link_made_for_a_paused_meeting_enters_the_pool(any_redis: AnyRedis) -> None:
    """It is not handed out, and not lost."""
    epoch = await open_pool(any_redis, paused=True)
    assert await bind(any_redis, epoch, "d-1") == (PAUSED, None)
    assert await fresh(any_redis) == ["d-1"]
    assert await any_redis.store.claim_of(SID, "ann") is None


@pytest.mark.parametrize(
    ("setting", "expected"), [("same", (REUSED, "a-1")), ("new", (NEW, "d-1"))]
)
async def test_a_direct_link_for_who_booked(
    any_redis: AnyRedis, setting: str, expected: tuple[Outcome, str]
) -> None:
    """It replaces the booked link only where the meeting says so."""
    epoch = await open_pool(any_redis, "a-1", after_booking=setting)
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", booked("a-1"))
    assert await bind(any_redis, epoch, "d-1") == expected


@every_fall
async def test_nothing_is_bound_behind_a_fallen_fence(any_redis: AnyRedis, fall: Fall) -> None:
    """A link of the epoch before is neither bound nor pooled."""
    epoch = await open_pool(any_redis)
    await fall(any_redis)
    before = await any_redis.everything()
    with pytest.raises(Fenced):
        await bind(any_redis, epoch, "d-1")
    assert await any_redis.everything() == before


async def test_a_link_of_another_epoch_is_not_bound(any_redis: AnyRedis) -> None:
    """The fence may have fallen and been recovered since the link's row was written."""
    epoch = await open_pool(any_redis)
    with pytest.raises(Fenced):
        await bind(any_redis, epoch + "x", "d-1")
    assert await any_redis.store.claim_of(SID, "ann") is None


async def test_a_link_of_an_unpublished_meeting_is_not_bound(any_redis: AnyRedis) -> None:
    """Without settings the lifetime of the binding is unknown."""
    epoch = await open_pool(any_redis)
    await any_redis.bare.delete(key_names.meeting(SID))
    with pytest.raises(UnknownMeeting):
        await bind(any_redis, epoch, "d-1")
    assert await fresh(any_redis) == []


# -- add and take out ----------------------------------------------------------------


async def test_links_enter_the_pool(any_redis: AnyRedis) -> None:
    """The level afterwards is returned; a link that is there already keeps its age."""
    epoch = await open_pool(any_redis)
    store = any_redis.store
    assert await store.add(SID, epoch, ["a-1", "a-2"], 1_000) == 2
    assert await store.add(SID, epoch, ["a-2", "a-3"], 5_000) == 3
    assert await any_redis.bare.zscore(key_names.fresh(SID), "a-2") == 1_000
    assert await store.stock.pooled(SID, ["a-3", "a-4", "a-1"]) == [True, False, True]
    assert await store.stock.pooled(SID, []) == []


async def test_links_of_another_epoch_do_not_enter(any_redis: AnyRedis) -> None:
    """Their ledger rows were quarantined when that epoch ended."""
    epoch = await open_pool(any_redis, "a-1")
    with pytest.raises(Fenced):
        await any_redis.store.add(SID, epoch + "0", ["a-2"], 1_000)
    assert await fresh(any_redis) == ["a-1"]


@every_fall
async def test_no_link_enters_behind_a_fallen_fence(any_redis: AnyRedis, fall: Fall) -> None:
    """A link that carries the epoch which the key still names does not enter, either."""
    epoch = await open_pool(any_redis, "a-1")
    await fall(any_redis)
    with pytest.raises(Fenced):
        await any_redis.store.add(SID, epoch, ["a-2"], 1_000)
    assert await fresh(any_redis) == ["a-1"]


async def test_old_links_are_taken_out(any_redis: AnyRedis) -> None:
    """Links made up to the moment are taken out, the oldest first, up to a limit."""
    await open_pool(any_redis, "a-1", "a-2", "a-3", "a-4")  # made at 1000, 1001, …
    take_out = any_redis.store.stock.take_out
    assert await take_out(SID, up_to_ms=1_002, limit=2) == ["a-1", "a-2"]
    assert await take_out(SID, up_to_ms=1_002) == ["a-3"]
    assert await take_out(SID, up_to_ms=1_002) == []
    assert await take_out(SID, up_to_ms=None) == ["a-4"]
    assert await fresh(any_redis) == []
