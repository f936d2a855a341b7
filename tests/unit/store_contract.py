"""Hold any Redis to what it owes the store: each script, and each way it can end.

The tests of this file are imported by two others, which run them on a fake Redis and on
every real server that can be had. The importing module says what `any_redis` is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pool.errors import Fenced, StoreUnavailable, UnknownMeeting
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.model.pools import nonce_of
from pool.store import Store, key_names, scripts
from pool.store.bindings import pack
from pool.store.published import digest
from pool.store.records import (
    AnsweredClaim,
    Block,
    Outcome,
    Replaced,
    Replacing,
    Totals,
    payload,
)
from pool.store.recovery import Closed, Rebind, RecoveryLost
from tests.any_redis import AnyRedis
from tests.set_aside import all_set_aside

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
    """As many customers as a batch may hold, each with a link of their own."""
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
    """Per address and per meeting; a refused one counts in neither, and one may be given back."""
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
    """As an older release publishes it."""
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
    """With `same` the link they booked with, with `new` another."""
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
    """Only claims of new links ask, only below the target, and not again within a second."""
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
    """Without settings nobody knows how long it would be theirs."""
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


# -- mark --------------------------------------------------------------------------


async def test_a_booking_makes_a_binding_last(any_redis: AnyRedis) -> None:
    """It becomes consumed, keeps no expiry, and doing it again changes nothing."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    for _ in range(2):
        assert await any_redis.store.mark(SID, "a-1", "ann", booked("a-1")) is False
        assert await any_redis.store.claim_of(SID, "ann") == booked("a-1")
    assert await any_redis.bare.pttl(binding_key(any_redis, "ann")) == -1


async def test_a_booked_link_leaves_the_pool(any_redis: AnyRedis) -> None:
    """A link that leaked and was booked is never handed out; the reply says that it stood in the
    pool.
    """
    await open_pool(any_redis, "a-1", "a-2")
    assert await any_redis.store.mark(SID, "a-1", None, None) is True
    assert await any_redis.store.mark(SID, "a-1", None, None) is False
    assert await fresh(any_redis) == ["a-2"]


async def test_a_booking_restores_a_binding_that_expired(any_redis: AnyRedis) -> None:
    """A customer who booked late is told so on the next claim."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.bare.delete(binding_key(any_redis, "ann"))
    await any_redis.store.mark(SID, "a-1", "ann", booked("a-1"))
    assert await claim(any_redis, "ann") == [(REUSED, "a-1")]


async def test_a_cancelled_link_is_dropped(any_redis: AnyRedis) -> None:
    """The next claim starts anew."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", None)
    assert await any_redis.store.claim_of(SID, "ann") is None
    assert await claim(any_redis, "ann") == [(NEW, "a-2")]


@pytest.mark.parametrize("late", [booked("a-1"), None], ids=["booked", "gone"])
async def test_news_of_an_older_link_leaves_the_newer_one(
    any_redis: AnyRedis, late: Claim | None
) -> None:
    """A customer who holds another link by now keeps it."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", None)
    await claim(any_redis, "ann")
    await any_redis.store.mark(SID, "a-1", "ann", late)
    assert await claim(any_redis, "ann") == [(REUSED, "a-2")]


# -- asserted again ---------------------------------------------------------------


def answered_claim(who: str, slug: str, **fields: Any) -> AnsweredClaim:
    return AnsweredClaim(who, held_claim(slug, **fields), 60_000, payload(who))


@every_fall
async def test_answered_claims_are_asserted_again_behind_a_fallen_fence(
    any_redis: AnyRedis, fall: Fall
) -> None:
    """A link that nothing else is bound for is bound, leaves the pool, and goes to the recorder."""
    await open_pool(any_redis, "a-1", "a-2")
    await fall(any_redis)
    asserted_claims = [
        answered_claim("ann", "a-1"),
        answered_claim("bob", "d-1", source="direct", claimed_at_ms=7_000),
    ]
    assert await any_redis.store.assert_again(SID, asserted_claims) == 0
    assert await any_redis.store.claim_of(SID, "ann") == held_claim("a-1")
    assert 0 < await any_redis.bare.pttl(binding_key(any_redis, "ann")) <= 60_000
    assert await fresh(any_redis) == ["a-2"]
    streamed = await any_redis.store.stream.unrecorded(SID, 10)
    assert [(each.slug, each.customer_id, each.source) for each in streamed] == [
        ("a-1", "ann", "pool"),
        ("d-1", "bob", "direct"),
    ]
    assert [each.claimed_at_ms for each in streamed] == [1_000, 7_000], "as answered then"


async def test_asserting_what_is_known_is_no_conflict(any_redis: AnyRedis) -> None:
    """The binding stays as it is; the recorder hears of it again, which does no harm."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    held = await any_redis.store.claim_of(SID, "ann")
    assert await any_redis.store.assert_again(SID, [answered_claim("ann", "a-1")]) == 0
    assert await any_redis.store.claim_of(SID, "ann") == held
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 2


async def test_who_holds_another_link_is_a_conflict(any_redis: AnyRedis) -> None:
    """The customer keeps the first link; the asserted one leaves the pool; both are recorded."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    assert (
        await any_redis.store.assert_again(
            SID, [answered_claim("ann", "a-2"), answered_claim("bob", "a-3")]
        )
        == 1
    )
    assert await claim(any_redis, "ann") == [(REUSED, "a-1")]
    assert await fresh(any_redis) == []
    assert len(await any_redis.store.stream.unrecorded(SID, 10)) == 3


@pytest.mark.parametrize(
    ("loaded", "claimed_at_ms", "bound", "conflicts"),
    [
        (booked("b-1"), 3_000, "a-2", 0),
        (booked("b-1"), 500, "b-1", 1),
        (held_claim("b-1"), 3_000, "a-2", 1),
        (held_claim("b-1"), 500, "b-1", 1),
    ],
)
async def test_of_two_links_the_one_claimed_last_counts(
    any_redis: AnyRedis, loaded: Claim, claimed_at_ms: int, bound: str, conflicts: int
) -> None:
    """Recovery has loaded one; a claim that was answered is asserted after that."""
    await open_pool(any_redis, "a-1", "a-2")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        packed = store.recovery.packed(SID, [Rebind("ann", loaded, "bind", 0)])
        await store.recovery.put(SID, lock.token, packed)
    asserted = answered_claim("ann", "a-2", claimed_at_ms=claimed_at_ms)
    assert await store.assert_again(SID, [asserted]) == conflicts
    held = await store.claim_of(SID, "ann")
    assert held is not None
    assert held.slug == bound
    assert await fresh(any_redis) == ["a-1"]


# -- replace -----------------------------------------------------------------------


async def replaced(redis: AnyRedis, old: str, **how: Any) -> Replacing:
    """Replace ann's link."""
    name, data = customer(redis.store, "ann")
    return await redis.store.replace(SID, name, old, data, "it is burnt", **how)


@pytest.mark.parametrize("made", ["", "one-off-made"], ids=["of the pool", "made for it"])
async def test_a_burnt_link_is_replaced_once(any_redis: AnyRedis, made: str) -> None:
    """The stream's entry names both links; a repeat changes nothing."""
    await open_pool(any_redis, "a-1", "a-2", "a-3")
    await claim(any_redis, "ann")
    first = await replaced(any_redis, "a-1", made=made)
    slug = made or "a-2"
    assert first.outcome is Replaced.NEW
    assert first.claim is not None
    assert (first.claim.slug, first.claim.state) == (slug, "claimed")
    assert first.claim.source == ("direct" if made else "pool")
    assert await any_redis.store.claim_of(SID, "ann") == first.claim
    left = ["a-2", "a-3"] if made else ["a-3"]
    assert await fresh(any_redis) == left
    before = await any_redis.everything()
    again = await replaced(any_redis, "a-1", made=made)
    assert (again.outcome, again.claim) == (Replaced.BEFORE, first.claim)
    assert await any_redis.everything() == before
    *_, entry = await any_redis.store.stream.unrecorded(SID, 10)
    assert (entry.slug, entry.customer_id, entry.replaces, entry.reason) == (
        slug, "ann", "a-1", "it is burnt",
    )  # fmt: skip
    assert (entry.source, entry.claimed_at_ms) == (first.claim.source, first.claim.claimed_at_ms)
    assert (await any_redis.store.look([SID]))[0].backlog == 2
    left_ms = await any_redis.bare.pttl(binding_key(any_redis, "ann"))
    assert TTL_SECONDS * 1000 - 5_000 < left_ms <= TTL_SECONDS * 1000


async def test_what_cannot_be_replaced_changes_nothing(any_redis: AnyRedis) -> None:
    """A customer without a link, an empty pool, a pause, and a link that is booked."""
    await open_pool(any_redis, "a-1")

    async def refused(old: str, outcome: Replaced, slug: str | None) -> None:
        before = await any_redis.everything()
        found = await replaced(any_redis, old)
        assert (found.outcome, found.claim and found.claim.slug) == (outcome, slug)
        assert await any_redis.everything() == before

    await refused("a-1", Replaced.NONE, None)
    await claim(any_redis, "ann")
    await refused("a-1", Replaced.EMPTY, None)
    epoch = (await any_redis.store.look([SID]))[0].epoch
    await any_redis.store.add(SID, epoch, ["a-2"], 1_000)
    await any_redis.store.published.put([Meeting(SID, paused=True)])
    await refused("a-1", Replaced.PAUSED, None)
    await any_redis.store.published.put([Meeting(SID)])
    held = await any_redis.store.claim_of(SID, "ann")
    assert held is not None
    booked = replace(held, state="consumed", consumed_at_ms=5)
    await any_redis.store.mark(SID, "a-1", "ann", booked)
    await refused("a-1", Replaced.BOOKED, "a-1")


@every_fall
async def test_nothing_is_replaced_behind_a_fallen_fence(any_redis: AnyRedis, fall: Fall) -> None:
    """Neither link may be given out there."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    await fall(any_redis)
    with pytest.raises(Fenced):
        await replaced(any_redis, "a-1")


# -- set aside ---------------------------------------------------------------------


async def test_an_unreadable_entry_is_set_aside_and_can_be_blanked(any_redis: AnyRedis) -> None:
    """Byte for byte, once however often; blanking overwrites the text in that meeting alone."""
    fields = {b"c": b"\xc1 of ann\xff", b"x": b""}
    anything: Any = fields
    kept = any_redis.store.set_aside
    for sid in (SID, "demo"):
        entry_id = (await any_redis.bare.xadd(key_names.claims(sid), anything)).decode()
        for _ in range(2):
            await kept.put(sid, entry_id, fields, "no MessagePack")
        assert await any_redis.bare.xlen(key_names.claims(sid)) == 0
    await kept.keep(SID, "0-1", {b"s": b"a-1"}, "not this one")
    assert await kept.counts() == {SID: 2, "demo": 1}
    await kept.blank(SID, "ann")
    entries = await all_set_aside(any_redis.store)
    found = {(each.sid, each.reason): each.fields for each in entries}
    assert found == {
        ("demo", "no MessagePack"): fields,
        (SID, "no MessagePack"): {b"c": b"\xc1 of xxx\xff", b"x": b""},
        (SID, "not this one"): {b"s": b"a-1"},
    }
    assert [(each.sid, each.entry_id == "0-1") for each in entries] == [
        ("demo", False), (SID, True), (SID, False),
    ]  # fmt: skip


# -- the stream --------------------------------------------------------------------


async def test_recorded_claims_are_trimmed(any_redis: AnyRedis) -> None:
    """Up to and with the entry named; those that came after stay, in order."""
    await open_pool(any_redis, *(f"a-{n}" for n in range(5)))
    await claim(any_redis, "c0")
    await claim(any_redis, "c1", "c2")
    await claim(any_redis, "c3", "c4")
    store = any_redis.store
    first = await store.stream.unrecorded(SID, 2)
    assert [each.customer_id for each in first] == ["c0", "c1", "c2"], "entries come whole"
    assert (await store.look([SID]))[0].backlog == 5
    await store.stream.trim(SID, first[-1].entry_id)
    await store.stream.trim(SID, first[-1].entry_id)
    assert [each.customer_id for each in await store.stream.unrecorded(SID, 10)] == ["c3", "c4"]
    assert (await store.look([SID]))[0].backlog == 2
    await store.stream.trim(SID, (await store.stream.unrecorded(SID, 2))[-1].entry_id)
    assert (await store.look([SID]))[0].backlog == 0
    assert await store.stream.unrecorded(SID, 2) == []


@pytest.mark.parametrize("limit", [1, 30, 1_000])
async def test_claims_that_came_one_by_one_are_read_to_the_limit(
    any_redis: AnyRedis, limit: int
) -> None:
    """However few an entry holds, as many come as were asked for, each once and in order."""
    slugs = [f"a-{n:03}" for n in range(90)]
    await open_pool(any_redis, *slugs)
    for n in range(90):
        await claim(any_redis, f"c{n}")
    streamed = await any_redis.store.stream.unrecorded(SID, limit)
    assert [each.slug for each in streamed] == slugs[:limit]
    assert [each.customer_id for each in streamed] == [f"c{n}" for n in range(min(limit, 90))]
    assert (await any_redis.store.look([SID]))[0].backlog == 90


@pytest.mark.parametrize(
    "slugs",
    [
        ("one-off-a", "one-off-b", "one-off-ab-c"),
        ("abc", "abd", "one-off-c"),
        ("one-off-a", "one-of-b", "one", "oneXoffXa"),
        ("a--", "a--b", "a-", "a"),
        ("a_1-2", "a_1-3", "a.1-4"),
    ],
)
async def test_the_recorder_reads_the_slugs_of_a_batch_as_they_were(
    any_redis: AnyRedis, slugs: tuple[str, ...]
) -> None:
    """Slugs are read as they were, with any common prefix or none."""
    for shift in range(len(slugs)):
        turned = slugs[shift:] + slugs[:shift]
        epoch = await open_pool(any_redis)
        for n, slug in enumerate(turned):
            await any_redis.store.add(SID, epoch, [slug], 1_000 + n)
        await claim(any_redis, *(f"{shift}-{n}" for n in range(len(turned))))
        streamed = await any_redis.store.stream.unrecorded(SID, 100)
        assert tuple(each.slug for each in streamed) == turned
        await any_redis.store.stream.trim(SID, streamed[-1].entry_id)


# -- seal --------------------------------------------------------------------------


async def test_a_sealed_pool_is_known_as_such_to_its_own_server_only(any_redis: AnyRedis) -> None:
    """Until this server is restarted it is sealed; another one may have to recover it."""
    await open_pool(any_redis, "a-1")
    assert await any_redis.store.recovery.seal(SID, "f" * 32) is True
    assert (await any_redis.store.look([SID]))[0].fence == "sealed"
    assert (await any_redis.store.recovery.fences([SID]))[0].fence == "sealed"
    assert (await any_redis.store.recovery.epoch(SID)).startswith("sealed:" + "f" * 32 + ":")
    await any_redis.restart()
    [level] = await any_redis.store.look([SID])
    assert (level.fence, level.fresh) == ("fallen", 1)
    assert (await any_redis.store.recovery.fences([SID]))[0].fence == "fallen"


async def test_thousands_of_fences_are_distinguished(any_redis: AnyRedis) -> None:
    """Each is that of its own meeting, in the order asked; a fall is seen at all of them."""
    sids = [f"m{n}" for n in range(1_203)]
    opened = {sid: await open_pool(any_redis, sid=sid) for sid in sids[::400]}
    for fence in ("stands", "fallen"):
        standings = await any_redis.store.recovery.fences(sids)
        assert [standing.sid for standing in standings] == sids
        assert {each.sid for each in standings if each.fence == fence} >= opened.keys()
        for standing in standings:
            if standing.sid not in opened:
                assert standing[1:] == ("fallen", "")
            elif fence == "stands":
                assert standing.epoch == opened[standing.sid]
        await any_redis.restart()
    assert await any_redis.store.recovery.fences([]) == []


@every_fall
async def test_a_fallen_fence_cannot_be_sealed(any_redis: AnyRedis, fall: Fall) -> None:
    """A pool that may have forgotten a claim must not look as if it had not."""
    await open_pool(any_redis, "a-1")
    await fall(any_redis)
    before = await any_redis.store.recovery.epoch(SID)
    assert await any_redis.store.recovery.seal(SID, "b" * 32) is False
    assert await any_redis.store.recovery.epoch(SID) == before


# -- recovery ------------------------------------------------------------------------


async def test_recovery_begins_by_taking_the_epoch_away(any_redis: AnyRedis) -> None:
    """From then on no server hands anything out, and the pool is emptied."""
    await open_pool(any_redis, "a-1")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        await store.recovery.begin(SID, lock.token, keep_fresh=False)
        assert await store.recovery.epoch(SID) == ""
        assert await fresh(any_redis) == []
        with pytest.raises(Fenced):
            await claim(any_redis, "ann")


async def test_an_adopted_pool_keeps_its_links(any_redis: AnyRedis) -> None:
    """Recovery that is asked to adopt leaves the fresh links where they are, and claims go on."""
    await open_pool(any_redis, "a-1")
    await any_redis.restart()
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        identity = await store.recovery.begin(SID, lock.token, keep_fresh=True)
        await store.recovery.open(SID, lock.token, identity, "again")
    assert await store.recovery.epoch(SID) == f"{identity}:again"
    assert await claim(any_redis, "ann") == [(NEW, "a-1")]


async def test_bindings_come_back_as_the_ledger_knows_them(any_redis: AnyRedis) -> None:
    """Claimed ones for the time left, booked ones for good, cancelled ones are dropped."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "cyd", "dan")
    store = any_redis.store
    async with store.locks.held(key_names.recovery_lock(SID), seconds=10) as lock:
        assert lock is not None
        rebinds = [
            Rebind("ann", held_claim("b-1"), "bind", 60_000),
            Rebind("bob", booked("b-2"), "bind", 0),
            Rebind("cyd", held_claim("a-1"), "drop", 0),
            Rebind("dan", held_claim("b-4"), "drop", 0),
            Rebind("eve", held_claim("b-5"), "drop", 0),
        ]
        await store.recovery.put(SID, lock.token, store.recovery.packed(SID, rebinds))
    assert await store.claim_of(SID, "ann") == held_claim("b-1")
    assert 0 < await any_redis.bare.pttl(binding_key(any_redis, "ann")) <= 60_000
    assert await store.claim_of(SID, "bob") == booked("b-2")
    assert await any_redis.bare.pttl(binding_key(any_redis, "bob")) == -1
    assert await store.claim_of(SID, "cyd") is None
    assert await claim(any_redis, "dan") == [(REUSED, "a-2")], "another link than the dropped one"
    assert await store.claim_of(SID, "eve") is None


@pytest.mark.parametrize("holder", [None, "somebody-else"])
async def test_without_its_lock_recovery_does_nothing(
    any_redis: AnyRedis, holder: str | None
) -> None:
    """At every step: the epoch, the pool and the bindings stay as they are."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    if holder:
        await any_redis.bare.set(key_names.recovery_lock(SID), holder)
    before = await any_redis.everything()
    recovery = any_redis.store.recovery
    identity = before[key_names.epoch(SID).encode()].decode().rsplit(":", 1)[0]  # type: ignore[attr-defined]
    with pytest.raises(RecoveryLost):
        await recovery.begin(SID, "mine", keep_fresh=False)
    packed = recovery.packed(SID, [Rebind("ann", held_claim("b-1"), "bind", 0)])
    with pytest.raises(RecoveryLost):
        await recovery.put(SID, "mine", packed)
    with pytest.raises(RecoveryLost):
        await recovery.open(SID, "mine", identity, "nonce")
    assert await any_redis.everything() == before


@pytest.mark.parametrize("how", ["another run_id", "another master_replid"])
async def test_recovery_that_another_server_answers_opens_nothing(
    any_redis: AnyRedis, how: str
) -> None:
    """The bindings were loaded into the server that it began on."""
    await open_pool(any_redis)
    store = any_redis.store
    await any_redis.bare.set(key_names.recovery_lock(SID), "mine")
    identity = await store.recovery.begin(SID, "mine", keep_fresh=False)
    await FALLS[how](any_redis)
    with pytest.raises(RecoveryLost, match="moved"):
        await store.recovery.open(SID, "mine", identity, "nonce")
    assert await store.recovery.epoch(SID) == ""


# -- the budget ----------------------------------------------------------------------


async def test_requests_are_paced(any_redis: AnyRedis) -> None:
    """After two intervals of catching up, each has to wait one interval longer."""
    budget = any_redis.store.budget
    waits = [await budget.take("w", first_rate=5, within_seconds=60) for _ in range(6)]
    assert waits[:3] == [0, 0, pytest.approx(0, abs=0.05)]
    # The calls themselves take time, in which the waits get shorter.
    assert waits[3:] == [pytest.approx(n * 0.2, abs=0.1) for n in (1, 2, 3)]


async def test_a_request_that_would_wait_too_long_reserves_nothing(any_redis: AnyRedis) -> None:
    """It is refused at once, and the next request that has the patience gets that very place."""
    budget = any_redis.store.budget
    for _ in range(3):
        await budget.take("w", first_rate=1, within_seconds=60)
    for _ in range(5):
        assert await budget.take("w", first_rate=1, within_seconds=0.1) is None
    assert await budget.take("w", first_rate=1, within_seconds=60) == pytest.approx(1, abs=0.3)


async def test_the_budget_of_a_workspace_is_its_own(any_redis: AnyRedis) -> None:
    """One that is silenced does not silence the other."""
    budget = any_redis.store.budget
    await budget.report("one", "throttled", first_rate=5, retry_after_seconds=60)
    assert await budget.take("one", first_rate=5, within_seconds=1) is None
    assert await budget.take("two", first_rate=5, within_seconds=1) == 0
    assert await budget.rate("three") is None


async def test_a_429_lowers_the_rate(any_redis: AnyRedis) -> None:
    """At least to half and a little less; the first of several at once counts alone."""
    budget = any_redis.store.budget
    await budget.take("w", first_rate=100, within_seconds=1)
    lowered = await budget.report("w", "throttled", first_rate=100)
    assert 40 <= lowered <= 50
    assert await budget.report("w", "throttled", first_rate=100) == pytest.approx(lowered, abs=0.1)
    assert await budget.rate("w") == pytest.approx(lowered, abs=0.01)


async def test_no_rate_falls_to_nothing(any_redis: AnyRedis) -> None:
    """However long a provider refuses, it is asked again now and then."""
    budget = any_redis.store.budget
    await budget.take("w", first_rate=0.3, within_seconds=1)
    for _ in range(5):
        rate = await budget.report("w", "throttled", first_rate=0.3)
    assert rate == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(None, 0, 1), (-1, 0, 1), (0, 0, 1), (5, 4.5, 5.1), (1e9, 599, 600), (float("inf"), 599, 600)],
)
async def test_retry_after_is_obeyed_within_reason(
    any_redis: AnyRedis, asked: float | None, least: float, most: float
) -> None:
    """A senseless value does no harm; nothing silences a workspace for over ten minutes."""
    budget = any_redis.store.budget
    await budget.take("w", first_rate=10, within_seconds=1)
    await budget.report("w", "throttled", first_rate=10, retry_after_seconds=asked)
    wait = await budget.take("w", first_rate=10, within_seconds=3_600)
    assert wait is not None
    assert least <= wait <= most


async def test_failures_in_a_row_back_off(any_redis: AnyRedis) -> None:
    """Two are bad luck; from the third on each waits longer, up to two seconds: as many as
    are under way may fail at once, and one such moment must not silence a workspace."""
    budget = any_redis.store.budget
    waits = []
    for _ in range(12):
        await budget.report("w", "failed", first_rate=1_000)
        wait = await budget.take("w", first_rate=1_000, within_seconds=3_600)
        assert wait is not None
        waits.append(wait)
    assert waits[:2] == [pytest.approx(0, abs=0.05)] * 2
    assert waits[2:6] == [pytest.approx(expected, abs=0.2) for expected in (0.5, 1, 2, 2)]
    assert waits[-1] == pytest.approx(2, abs=0.2)


async def test_a_success_ends_the_row_of_failures(any_redis: AnyRedis) -> None:
    """Failures that come now and then never add up."""
    budget = any_redis.store.budget
    for _ in range(5):
        await budget.report("w", "failed", first_rate=1_000)
        await budget.report("w", "failed", first_rate=1_000)
        await budget.report("w", "ok", first_rate=1_000)
    assert await budget.take("w", first_rate=1_000, within_seconds=0.2) is not None


# -- look --------------------------------------------------------------------------


async def test_a_look_tells_how_pools_are(any_redis: AnyRedis) -> None:
    """One answer per meeting asked for, in that order, known or not."""
    epoch = await open_pool(any_redis, "a-1", "a-2", "a-3")
    await claim(any_redis, "ann")
    block = Block("the meeting is gone", 5, 6)
    await any_redis.store.blocks.put(SID, block)
    other, level = await any_redis.store.look(["demo", SID])
    assert (other.sid, other.fence, other.epoch, other.fresh) == ("demo", "fallen", "", 0)
    assert (other.oldest_fresh_seconds, other.block, other.claims_per_second) == (None, None, 0)
    assert (level.sid, level.fence, level.epoch) == (SID, "stands", epoch)
    assert (level.fresh, level.backlog, level.block) == (2, 1, block)
    assert level.published == digest(Meeting(SID, claim_ttl_seconds=TTL_SECONDS))
    assert (other.published, other.target) == ("", None)
    assert level.target == Meeting(SID).min_fresh
    assert level.oldest_fresh_seconds == pytest.approx(time.time() - 1.001, abs=5)
    assert abs(level.now_ms - time.time() * 1000) < 5_000
    await any_redis.store.blocks.put(SID, None)
    await any_redis.store.published.set_targets({SID: 7})
    assert (await any_redis.store.look([SID]))[0].block is None
    assert (await any_redis.store.look([SID]))[0].target == 7
    assert await any_redis.store.look([]) == []


async def test_a_look_at_very_many_pools_mixes_none_up(any_redis: AnyRedis) -> None:
    """Each answer is that of its own meeting, in the order asked."""
    for n in (3, 26, 59):
        await open_pool(any_redis, *(f"a-{n}-{i}" for i in range(n)), sid=f"m{n}")
    levels = await any_redis.store.look([f"m{n}" for n in reversed(range(60))])
    assert [level.sid for level in levels] == [f"m{n}" for n in reversed(range(60))]
    assert {level.sid: level.fresh for level in levels if level.fence == "stands"} == {
        "m3": 3,
        "m26": 26,
        "m59": 59,
    }
    assert {level.fresh for level in levels if level.fence == "fallen"} == {0}


@pytest.mark.parametrize("name", ["epoch", "fresh", "claims", "demand", "block", "meeting"])
async def test_a_key_of_another_type_concerns_its_meeting_alone(
    any_redis: AnyRedis, name: str
) -> None:
    """It is unreadable, with the problem; the meetings before and after it are read."""
    for sid in ("a", "bad", "c"):
        await open_pool(any_redis, f"{sid}-1", sid=sid)
    key = getattr(key_names, name)("bad")
    await any_redis.bare.delete(key)
    await any_redis.bare.sadd(key, "of another type")
    levels = await any_redis.store.look(["a", "bad", "c"])
    assert [(level.sid, level.fence, level.fresh) for level in levels] == [
        ("a", "stands", 1),
        ("bad", "unreadable", 0),
        ("c", "stands", 1),
    ]
    assert "WRONGTYPE" in levels[1].problem
    await any_redis.store.published.set_targets({"a": 3, "bad": 3, "c": 3})
    await any_redis.store.published.put([Meeting(sid) for sid in ("a", "bad", "c")])
    published = {meeting.sid for meeting in await any_redis.store.published.all()}
    assert published >= {"a", "c"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("block", "no JSON"), ("demand", {"heat": "hot"}), ("meeting", {"target": "x"})],
)
async def test_a_value_that_cannot_be_read_concerns_its_meeting_alone(
    any_redis: AnyRedis, name: str, value: str | dict[str, str]
) -> None:
    """As a key of another type does."""
    for sid in ("a", "bad"):
        await open_pool(any_redis, f"{sid}-1", sid=sid)
    key = getattr(key_names, name)("bad")
    if isinstance(value, str):
        await any_redis.bare.set(key, value)
    else:
        anything: Any = value
        await any_redis.bare.hset(key, mapping=anything)
    levels = await any_redis.store.look(["bad", "a"])
    assert [level.fence for level in levels] == ["unreadable", "stands"]
    assert levels[0].problem


async def test_demand_is_counted_by_those_who_asked_for_a_new_link(any_redis: AnyRedis) -> None:
    """Customers who got no link are counted, too; a customer who holds a link asks for nothing."""
    await open_pool(any_redis, "a-1")
    await claim(any_redis, "ann")
    rate = (await any_redis.store.look([SID]))[0].claims_per_second
    assert rate == pytest.approx(1 / 30, rel=0.1)
    await claim(any_redis, "ann")
    assert (await any_redis.store.look([SID]))[0].claims_per_second <= rate
    await claim(any_redis, "bob", "cyd")
    assert (await any_redis.store.look([SID]))[0].claims_per_second == pytest.approx(0.1, rel=0.1)


async def test_a_workspace_block_is_kept_until_it_is_cleared(any_redis: AnyRedis) -> None:
    """A block is kept with its reason and the time of the next probe."""
    store = any_redis.store
    assert await store.blocks.of_workspace("default") is None
    await store.blocks.put_workspace("default", Block("the key is refused", 1, 2))
    assert await store.blocks.of_workspace("default") == Block("the key is refused", 1, 2)
    assert await store.blocks.of_workspace("other") is None
    await store.blocks.put_workspace("default", None)
    assert await store.blocks.of_workspace("default") is None


async def test_a_heartbeat_is_kept(any_redis: AnyRedis) -> None:
    """There is no heartbeat until a worker leaves one."""
    assert await any_redis.store.last_heartbeat_ms() is None
    await any_redis.store.heartbeat(1_234)
    assert await any_redis.store.last_heartbeat_ms() == 1_234


# -- locks -------------------------------------------------------------------------


async def test_a_lock_is_one_holders(any_redis: AnyRedis) -> None:
    """The second is refused at once, and may have the lock when the first is done."""
    locks, others = any_redis.store.locks, any_redis.another_store().locks
    async with locks.held("lock", seconds=10) as mine:
        assert mine is not None
        assert (await any_redis.bare.get("lock")).decode() == mine.token
        async with others.held("lock", seconds=10) as theirs:
            assert theirs is None
        assert await any_redis.bare.get("lock") is not None, "they released nothing of ours"
    async with others.held("lock", seconds=10) as theirs:
        assert theirs is not None


async def test_a_lock_expires_unless_it_is_extended(any_redis: AnyRedis) -> None:
    """Extending holds it for its full time; a lost lock cannot be extended, nor released."""
    async with any_redis.store.locks.held("lock", seconds=10) as mine:
        assert mine is not None
        await any_redis.bare.pexpire("lock", 500)
        assert await mine.extend() is True
        assert await any_redis.bare.pttl("lock") > 9_000
        await any_redis.bare.set("lock", "somebody-else")
        assert await mine.extend() is False
    assert await any_redis.bare.get("lock") == b"somebody-else"


async def test_a_lock_is_renewed_while_its_owner_works(any_redis: AnyRedis) -> None:
    """Work of any length keeps its lock; others need not wait long for an owner that died."""
    async with any_redis.store.locks.held("lock", seconds=1.0) as mine:
        assert mine is not None
        await asyncio.sleep(1.4)
        async with any_redis.another_store().locks.held("lock") as theirs:
            assert theirs is None
    assert await any_redis.bare.get("lock") is None


async def test_a_lock_of_another_server_process_is_void(any_redis: AnyRedis) -> None:
    """The server may have come back with an old file; the former holder finds the lock gone."""
    async with any_redis.store.locks.held("lock", seconds=10) as mine:
        assert mine is not None
        await any_redis.restart()
        assert (await any_redis.bare.get("lock")).decode() == mine.token
        async with any_redis.another_store().locks.held("lock", seconds=10) as theirs:
            assert theirs is not None
            assert await mine.extend() is False
            assert (await any_redis.bare.get("lock")).decode() == theirs.token


# -- published ---------------------------------------------------------------------


async def test_published_meetings_are_read_as_they_were_written(any_redis: AnyRedis) -> None:
    """All settings, by SID; the version moves with each change."""
    published = any_redis.store.published
    assert (await published.version(), await published.all()) == (0, [])
    one = Meeting("b", after_booking="new", on_empty="fail", fallback_url="https://x.example/ü")
    two = Meeting("a", paused=True, pause_reason="holiday", min_fresh=1)
    await published.put([one, two])
    assert await published.all() == [two, one]
    version = await published.version()
    await published.put([])
    assert await published.version() == version > 0
    await published.put([Meeting("b")])
    assert await published.version() > version
    assert await published.all() == [two, Meeting("b")]
    await published.set_targets({})


# -- whatever may happen to a call -----------------------------------------------------


async def test_a_server_that_forgot_the_scripts_gets_them_again(any_redis: AnyRedis) -> None:
    """No caller notices, whichever script it is."""
    store, forget = any_redis.store, any_redis.bare.script_flush
    await forget()
    epoch = await open_pool(any_redis, "a-1")
    await forget()
    assert [level.fresh for level in await store.look([SID, SID])] == [1, 1]
    for call in (
        lambda: claim(any_redis, "ann"),
        lambda: bind(any_redis, epoch, "d-1", "bob"),
        lambda: store.add(SID, epoch, ["a-2"], 1),
        lambda: store.assert_again(SID, [answered_claim("ann", "a-9")]),
        lambda: store.mark(SID, "a-2", None, None),
        lambda: store.add(SID, epoch, ["a-3"], 1),
        lambda: store.stock.take_out(SID, up_to_ms=None),
        lambda: store.budget.report("w", "ok", first_rate=1),
        lambda: store.recovery.seal(SID, "c" * 32),
    ):
        await forget()
        assert await call()


async def test_a_reply_to_another_call_is_not_believed(
    any_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixed-up connection gives an error, never another customer's link."""
    epoch = await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    run = scripts.run

    async def of_another_call(*call: Any) -> Any:
        reply = await run(*call)
        return [b"an-echo-of-somebody-else", *reply[1:]]

    monkeypatch.setattr(scripts, "run", of_another_call)
    for call in (
        claim(any_redis, "ann"),
        bind(any_redis, epoch, "d-1", "bob"),
        any_redis.store.add(SID, epoch, ["a-3"], 1),
    ):
        with pytest.raises(StoreUnavailable, match="another call"):
            await call


async def test_a_refusal_is_distinguished_from_a_broken_connection(any_redis: AnyRedis) -> None:
    """A value of the wrong type is Redis's word; nothing is gained by asking again."""
    await open_pool(any_redis, "a-1")
    await any_redis.bare.set(key_names.fresh(SID), "not a sorted set")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE") as refused:
        await claim(any_redis, "ann")
    assert refused.value.connection_lost is False
    assert await any_redis.bare.exists(key_names.claims(SID)) == 0


async def test_bindings_are_read_as_they_were_packed(any_redis: AnyRedis) -> None:
    """Booking ids that hold a colon are read, and bookings of which little is known."""
    await open_pool(any_redis)
    for consumed in (
        booked("a-1"),
        held_claim("a-2", state="consumed", source="direct"),
        held_claim("a-3", state="consumed", consumed_at_ms=5, booking_sid="b:1:2"),
    ):
        await any_redis.bare.set(binding_key(any_redis, "ann"), pack(consumed))
        assert await any_redis.store.claim_of(SID, "ann") == consumed
        assert await claim(any_redis, "ann") == [(REUSED, consumed.slug)]


# -- several pools of one meeting --------------------------------------------------


async def open_pools(redis: AnyRedis, shards: int, links: int = 2) -> Meeting:
    """Publish a meeting of so many shards, and open its pools with so many links each."""
    store, meeting = redis.store, Meeting(SID, claim_ttl_seconds=TTL_SECONDS, shards=shards)
    await store.published.put([meeting])
    for shard, pool in enumerate(meeting.pools):
        async with store.locks.held(key_names.recovery_lock(pool), seconds=10) as lock:
            assert lock is not None
            identity = await store.recovery.begin(pool, lock.token, keep_fresh=False)
            nonce = nonce_of(pool, "ab12")
            await store.recovery.open(pool, lock.token, identity, nonce)
        slugs = [f"s-{shard}-{number}" for number in range(links)]
        await store.add(pool, f"{identity}:{nonce}", slugs, 1_000)
    return meeting


some_shards = pytest.mark.parametrize("shards", [1, 3])


@some_shards
async def test_a_meeting_is_served_by_all_of_its_pools(any_redis: AnyRedis, shards: int) -> None:
    """Each gives its own links to its own customers, and a look sums them up."""
    meeting, store = await open_pools(any_redis, shards), any_redis.store
    who = {store.pool_of(meeting, f"c{number}"): f"c{number}" for number in range(40)}
    assert set(who) == set(meeting.pools)
    for shard, pool in enumerate(meeting.pools):
        assert await claim(any_redis, who[pool], sid=pool) == [(NEW, f"s-{shard}-0")]
        assert await claim(any_redis, who[pool], sid=pool) == [(REUSED, f"s-{shard}-0")]
    looked = await store.look_at([meeting])
    assert [level.fresh for level in looked.pools] == [1] * shards
    [whole] = looked.meetings
    assert (whole.sid, whole.fence, whole.fresh, whole.backlog) == (SID, "stands", shards, shards)
    assert whole.totals == Totals(shards, 2 * shards, 0)
    assert whole.published == digest(meeting)
    assert set(await store.published.pools()) == {SID, *meeting.pools}
    assert await store.published.all() == [meeting]
    fences = await store.recovery.fences(meeting.pools)
    assert [each.fence for each in fences] == ["stands"] * shards
    await any_redis.restart()
    assert (await store.look_at([meeting])).meetings[0].fence == "fallen"


@some_shards
async def test_a_closed_pool_hands_out_nothing_more(any_redis: AnyRedis, shards: int) -> None:
    """Its links are gone, its totals taken out once, and a recovery that is under way is lost."""
    meeting, store = await open_pools(any_redis, shards), any_redis.store
    pool = meeting.pools[-1]
    await claim(any_redis, "ann", sid=pool)
    before = await store.recovery.epoch(pool)
    async with store.locks.held(key_names.recovery_lock(pool), seconds=10) as lock:
        assert lock is not None
        assert await store.recovery.close(pool) == Closed(before, True, Totals(1, 2, 0))
        with pytest.raises(RecoveryLost):
            await store.recovery.open(pool, lock.token, "identity", "nonce")
    for work in (
        lambda: claim(any_redis, "ann", sid=pool),
        lambda: store.add(pool, before, ["x"], 1),
    ):
        with pytest.raises(Fenced):
            await work()
    assert await store.recovery.close(pool) == Closed("", False, Totals())
    assert await fresh(any_redis, pool) == []
    assert len(await store.stream.unrecorded(pool, 10)) == 1, "what was answered is still there"
    await store.recovery.carry(SID, Totals(1, 2, 0))
    assert (await store.look_at([meeting])).meetings[0].totals.claims == 1


@some_shards
async def test_what_is_left_of_a_closed_pool_is_cleared(any_redis: AnyRedis, shards: int) -> None:
    """By the owner of its lock; what concerns the meeting as a whole stays."""
    meeting, store = await open_pools(any_redis, shards), any_redis.store
    pool = meeting.pools[-1]
    await claim(any_redis, "ann", sid=pool)
    async with store.locks.held(key_names.recovery_lock(pool), seconds=10) as lock:
        assert lock is not None
        with pytest.raises(RecoveryLost):
            await store.recovery.clear(pool, "another")
        await store.recovery.clear(pool, lock.token)
    left = {key.decode() async for key in any_redis.bare.scan_iter(f"lp:{{{pool}}}:*")}
    mine = {key_names.epoch(pool), key_names.binding(pool, store.names.name(SID, "ann"))}
    assert left == (mine | {key_names.meeting(SID), key_names.demand(SID)} if shards == 1 else mine)


async def test_a_pool_is_loaded_with_its_own_customers(any_redis: AnyRedis) -> None:
    """However many of the meeting's bindings are given."""
    meeting, store = await open_pools(any_redis, 3), any_redis.store
    rebinds = [Rebind(f"c{n}", held_claim(f"b-{n}"), "bind", 0) for n in range(30)]
    for pool in meeting.pools:
        async with store.locks.held(key_names.recovery_lock(pool), seconds=10) as lock:
            assert lock is not None
            await store.recovery.put(pool, lock.token, store.recovery.packed(pool, rebinds))
    bound = [key.decode() async for key in any_redis.bare.scan_iter("lp:{intro:*:b:*")]
    assert sorted(bound) == sorted(
        key_names.binding(store.pool_of(meeting, who), store.names.name(SID, who))
        for who in (each.customer_id for each in rebinds)
    )
