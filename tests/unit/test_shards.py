"""Spread a meeting over several pools, and change their number, and lose no customer's link."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.on_demand import NoLinksOnDemand
from pool.durability.fence_watch import FenceWatch
from pool.durability.former_pools import reshaped
from pool.durability.recent_claims import RecentClaims
from pool.durability.reopening import Recovered
from pool.errors import Fenced, InvalidRequest, StoreUnavailable
from pool.ledger.records import RecordedClaim
from pool.model.links import State
from pool.model.meeting_rules import check_meeting
from pool.model.meetings import Meeting
from pool.model.pools import (
    nonce_of,
    pool_names,
    pool_of,
    pool_of_epoch,
    serves,
    shard_of,
    shards_of,
    sid_of,
)
from pool.model.times import from_ms
from pool.operations.status import statuses
from pool.store import key_names
from pool.store.bindings import CustomerNames
from pool.store.records import AnsweredClaim, payload
from pool.supply.planning import Need, plan
from pool.supply.targets import split
from tests.in_process import InProcess
from tests.set_aside import all_set_aside
from worker import expire, record, recover, sweep

SID = "intro"
CUSTOMERS = tuple(f"c{number}" for number in range(12))


class Heard:
    """Listens to a desk, and keeps which pools were fenced."""

    def __init__(self) -> None:
        self.fences: list[str] = []

    def fenced(self, sid: str) -> None:
        self.fences.append(sid)

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


async def desk_of(product: InProcess) -> tuple[Desk, KnownMeetings, RecentClaims, Heard]:
    known, recent, heard = KnownMeetings(product.store, product.ledger), RecentClaims(), Heard()
    await known.refresh()
    desk = Desk(product.store, known, recent, NoLinksOnDemand(), heard, timeout_seconds=5)
    return desk, known, recent, heard


async def spread(product: InProcess, shards: int, **settings: Any) -> Meeting:
    """Put a meeting with this number of shards, and fill its pools."""
    values: dict[str, Any] = {"min_fresh": 36, "max_fresh": 60, "shards": shards}
    meeting = await product.meeting(SID, **values | settings)
    await product.top_up()
    return meeting


async def change(product: InProcess, meeting: Meeting, shards: int) -> Meeting:
    """Change the number as an operator does, and run the workers."""
    changed = replace(meeting, shards=shards)
    await product.ledger.meetings.put(changed)
    await product.store.published.put([changed])
    await recover.recover(product.parts)
    await product.top_up()
    return changed


async def claims_of(desk: Desk, *customers: str) -> dict[str, str]:
    receipts = await asyncio.gather(*(desk.claim(SID, who) for who in customers))
    return {who: receipt.claim.slug for who, receipt in zip(customers, receipts, strict=True)}


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for API processes: there are none."""
    monkeypatch.setattr("worker.recover.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("pool.durability.former_pools.GRACE_SECONDS", 0.0)


# -- names -------------------------------------------------------------------------


def test_one_pool_has_the_name_of_its_meeting() -> None:
    """Keys, epochs and customers' names are those that they always were."""
    assert pool_names(SID, 1) == (SID,)
    assert pool_of(SID, 1, "not even base64") == SID
    assert Meeting(SID).pools == (SID,)
    assert nonce_of(SID, "ab12") == "ab12"
    assert key_names.epoch(SID) == "lp:{intro}:epoch"
    assert (sid_of(SID), shards_of(SID)) == (SID, 1)
    assert pool_of_epoch(SID, "run:replid:ab12") == SID
    assert pool_of_epoch(SID, "a-name:of/a-test-1") == SID


def test_a_pool_of_several_says_of_how_many() -> None:
    """Pools of another number are different ones, with different keys, each in a slot of its
    own.
    """
    assert pool_names(SID, 3) == ("intro:0/3", "intro:1/3", "intro:2/3")
    assert not set(pool_names(SID, 3)) & set(pool_names(SID, 6))
    assert key_names.fresh("intro:1/3") == "lp:{intro:1/3}:fresh"
    assert [(sid_of(pool), shards_of(pool)) for pool in pool_names(SID, 2)] == [(SID, 2)] * 2
    for pool in pool_names(SID, 12):
        assert pool_of_epoch(SID, f"run:replid:{nonce_of(pool, 'ab12')}") == pool


def test_customers_are_spread_evenly_by_their_names() -> None:
    """Their name does not depend on the pool, and exactly one pool of a number serves them."""
    names = CustomerNames(b"secret")
    found = Counter(shard_of(names.name(SID, f"c{number}"), 6) for number in range(6_000))
    assert set(found) == set(range(6))
    assert max(found.values()) < 1.2 * min(found.values())
    for pool in pool_names(SID, 6):
        assert names.name(pool, "ann") == names.name(SID, "ann")
    name = names.name(SID, "ann")
    assert [pool for pool in pool_names(SID, 6) if serves(pool, name)] == [pool_of(SID, 6, name)]
    assert serves(SID, name)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"shards": 0}, "between 1 and 64"),
        ({"shards": 65, "min_fresh": 100}, "between 1 and 64"),
        ({"shards": 6, "min_fresh": 5}, "each of 6"),
        ({"shards": 6, "min_fresh": 10, "reserve": 5}, "each of 6"),
        ({"shards": 64, "min_fresh": 64}, ""),
        ({"shards": 1, "min_fresh": 0}, ""),
    ],
)
def test_each_shard_needs_a_link(settings: dict[str, Any], word: str) -> None:
    """A number of shards that cannot be stocked is refused."""
    meeting = replace(Meeting(SID), **settings)
    if not word:
        check_meeting(meeting)
        return
    with pytest.raises(InvalidRequest) as refused:
        check_meeting(meeting)
    assert word in " ".join(refused.value.errors)


# -- serving -----------------------------------------------------------------------


async def test_a_meeting_of_several_pools_serves_as_one(product: InProcess) -> None:
    """Each customer gets a link of their own, and the same one again, out of their pool; a person
    who looks sees sums.
    """
    meeting = await spread(product, 3)
    desk, _, _, _ = await desk_of(product)
    first = await claims_of(desk, *CUSTOMERS)
    assert len(set(first.values())) == len(CUSTOMERS)
    assert await claims_of(desk, *reversed(CUSTOMERS)) == first
    looked = await product.store.look_at([meeting])
    taken = Counter(product.store.pool_of(meeting, who) for who in CUSTOMERS)
    assert len(taken) == 3
    for level in looked.pools:
        assert level.totals.claims == level.backlog == taken[level.sid]
    [whole] = looked.meetings
    assert (whole.sid, whole.fence) == (SID, "stands")
    assert whole.fresh == sum(level.fresh for level in looked.pools) == 36 - len(CUSTOMERS)
    assert whole.totals.claims == whole.backlog == len(CUSTOMERS)
    assert whole.totals.top_ups == 36
    [status] = await statuses(product.store, product.ledger, [meeting])
    assert (status.fresh, status.unrecorded, status.state) == (24, 12, "low")
    assert await record.record(product.parts, None) == len(CUSTOMERS)
    assert (await product.states(SID))[State.CLAIMED] == len(CUSTOMERS)
    assert await record.record(product.parts, SID) == 0


async def test_top_up_fills_every_pool_and_the_dry_one_first(product: InProcess) -> None:
    """Targets are parts of the meeting's, and no pool stays empty while others have stock."""
    meeting = await spread(product, 4)
    levels = (await product.store.look_at([meeting])).pools
    assert [level.fresh for level in levels] == [9] * 4
    assert [level.target for level in levels] == [9] * 4
    await product.store.stock.take_out("intro:2/4", up_to_ms=None)
    assert ("top-up", {"workspace": "default"}) in [
        (name.rpartition(".")[2].replace("_", "-"), arguments)
        for name, arguments in await sweep.sweep(product.parts)
    ]
    await product.top_up()
    levels = (await product.store.look_at([meeting])).pools
    assert [level.fresh for level in levels] == [9] * 4


def test_the_pool_that_runs_dry_gets_the_next_link() -> None:
    """One of several pools counts as a pool of its own, whatever its meeting's others hold."""
    needs = [
        Need(SID, "e", fresh, 30, 1.0, shard=pool)
        for pool, fresh in zip(pool_names(SID, 3), (20, 0, 10), strict=True)
    ]
    assert [need.pool for need in plan(needs, 3)] == ["intro:1/3"] * 3
    assert Counter(need.pool for need in plan(needs, 60))["intro:1/3"] == 30


async def test_a_target_is_split_without_rest(product: InProcess) -> None:
    """Rate and number are split, and each pool gets one link if there are enough."""
    meeting = await product.meeting(SID, shards=3, min_fresh=3)
    levels = (await product.store.look_at([meeting])).pools
    assert split(100, levels) == {"intro:0/3": 34, "intro:1/3": 33, "intro:2/3": 33}
    assert sorted(split(2, levels).values()) == [0, 1, 1]
    assert split(3, levels) == dict.fromkeys(meeting.pools, 1)
    busy = [structs.replace(levels[0], claims_per_second=9.0), *levels[1:]]
    found = split(99, busy)
    assert sum(found.values()) == 99
    assert found["intro:0/3"] > 60 > 30 > found["intro:1/3"] > 10
    assert split(7, levels[:1]) == {levels[0].sid: 7}


async def test_a_booking_is_marked_where_the_customer_is_bound(product: InProcess) -> None:
    """Its end and an erasure are, too, whichever pool that is."""
    meeting = await spread(product, 5, after_booking="new")
    desk, _, _, _ = await desk_of(product)
    for who in ("ann", "bob"):
        slug = (await claims_of(desk, who))[who]
        await product.book(slug, sid=f"b-{who}")
        await record.record(product.parts, SID)
        claim = await product.store.claim_of(product.store.pool_of(meeting, who), who)
        assert claim is not None
        assert claim.state == "consumed"
        assert (await claims_of(desk, who))[who] != slug
    await product.parts.erasure.forget(SID, "ann")
    assert await product.store.claim_of(product.store.pool_of(meeting, "ann"), "ann") is None


# -- changing the number -----------------------------------------------------------


async def test_customers_keep_their_links_whatever_the_number_of_shards(
    product: InProcess,
) -> None:
    """No link goes to two of them, nobody gets a second one, and totals only grow."""
    meeting = await spread(product, 1)
    desk, known, _, _ = await desk_of(product)
    held: dict[str, str] = {}
    totals = []
    for number, shards in enumerate((3, 6, 2, 1, 3, 1)):
        held |= await claims_of(desk, *(f"{who}-{number}" for who in CUSTOMERS[:4]))
        meeting = await change(product, meeting, shards)
        await known.refresh()
        assert await claims_of(desk, *held) == held, shards
        [level] = (await product.store.look_at([meeting])).meetings
        assert (level.fence, level.fresh) == ("stands", 36)
        totals.append(level.totals.claims)
    assert len(set(held.values())) == len(held)
    assert all(before <= after for before, after in pairwise(totals))
    assert totals[-1] == len(held)
    states = await product.states(SID)
    assert states[State.CLAIMED] == len(held)
    assert states[State.FRESH] == 36
    assert states.get(State.QUARANTINED, 0) == 0, "nobody can have seen them"
    assert product.metric("linkpool_fences_total") == 0
    assert product.metric("linkpool_conflicts_total") == 0


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 6)])
async def test_a_process_that_does_not_know_of_the_change_is_refused(
    product: InProcess, before: int, after: int
) -> None:
    """Its customers cannot get another link in a pool of before, which is closed first."""
    meeting = await spread(product, before)
    desk, known, _, heard = await desk_of(product)
    held = await claims_of(desk, *CUSTOMERS)
    await change(product, meeting, after)
    for who in ("new", "newer", *CUSTOMERS):
        with pytest.raises(Fenced) as refused:
            await desk.claim(SID, who)
        assert str(refused.value) == "the pool of meeting intro is being recovered"
    assert set(heard.fences) <= set(meeting.pools)
    epoch = "run:replid:ab12"
    with pytest.raises(Fenced):
        await product.store.add(meeting.pools[0], epoch, ["x-1"], 1)
    await known.refresh()
    assert await claims_of(desk, *CUSTOMERS) == held


async def test_a_change_waits_for_a_pool_that_cannot_be_closed(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pool of the new number opens while one of the old may still hand out links."""
    meeting = await spread(product, 2)
    close = product.store.recovery.close

    async def away(pool: str) -> Any:
        if pool == "intro:1/2":
            raise StoreUnavailable("Redis: away", of_one_master=True, is_outage=True)
        return await close(pool)

    monkeypatch.setattr(product.store.recovery, "close", away)
    changed = await change(product, meeting, 3)
    looked = await product.store.look_at([changed])
    assert {level.fence for level in looked.pools} == {"fallen"}
    await product.store.heartbeat(1)
    [status] = await statuses(product.store, product.ledger, [changed])
    assert (status.state, status.reason) == (
        "recovering",
        "its pools are being loaded from the ledger",
    )
    monkeypatch.undo()
    await recover.recover(product.parts)
    looked = await product.store.look_at([changed])
    assert {level.fence for level in looked.pools} == {"stands"}


async def test_a_recovery_for_the_number_of_before_gives_way(product: InProcess) -> None:
    """A process that read the old number before the change opens none of its pools afterwards."""
    meeting = await spread(product, 3)
    changed = await change(product, meeting, 1)
    assert await product.parts.recovery.recover("intro:1/3") is Recovered.BUSY
    assert (await product.level("intro:1/3")).epoch == ""
    assert (await product.level(SID)).fence == "stands"
    assert (
        await product.parts.recovery.fallen((await product.store.look_at([changed])).pools) == []
    ), "and that it tried costs nothing"


async def test_a_change_in_the_middle_of_a_recovery_stops_it(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recovery of a pool of before loses its lock when that pool is closed."""
    meeting = await spread(product, 1)
    await product.redis.bare.delete(key_names.epoch(SID))
    begin, loading, go_on = product.store.recovery.begin, asyncio.Event(), asyncio.Event()

    async def slowly(pool: str, *args: Any, **options: Any) -> str:
        if pool == SID:
            loading.set()
            await go_on.wait()
        return await begin(pool, *args, **options)

    monkeypatch.setattr(product.store.recovery, "begin", slowly)
    slow = asyncio.create_task(product.parts.recovery.recover(SID, grace_seconds=0))
    await loading.wait()
    changed = replace(meeting, shards=2)
    await product.ledger.meetings.put(changed)
    for pool in changed.pools:
        assert await product.parts.recovery.recover(pool, grace_seconds=0) is Recovered.OPENED
    go_on.set()
    assert await slow is Recovered.BUSY
    assert (await product.level(SID)).epoch == ""


async def test_a_pool_of_before_that_an_older_release_opens_is_closed_again(
    product: InProcess,
) -> None:
    """All pools of the meeting are then loaded anew, with the claims made there."""
    meeting = await spread(product, 1)
    changed = await change(product, meeting, 3)
    identity = (await product.level("intro:0/3")).epoch.rpartition(":")[0]
    epoch = f"{identity}:ab12"
    await product.redis.bare.set(key_names.epoch(SID), epoch)
    await product.ledger.facts.put(f"opened:{SID}", epoch)
    await product.stock(SID, "x-1")
    assert await product.claim(SID, "ann") == ["x-1"]
    assert reshaped(await product.ledger.facts.beginning_with("opened:"), ["intro:0/3"]) == {SID}
    await recover.recover(product.parts)
    assert (await product.level(SID)).epoch == ""
    desk, _, _, _ = await desk_of(product)
    assert await claims_of(desk, "ann") == {"ann": "x-1"}
    looked = await product.store.look_at([changed])
    assert await product.parts.recovery.fallen(looked.pools) == []


async def test_what_was_answered_is_asserted_in_the_pools_of_now(product: InProcess) -> None:
    """A process asserts the claims of a former pool again while that pool is being closed."""
    meeting = await spread(product, 1)
    desk, known, recent, _ = await desk_of(product)
    held = await claims_of(desk, *CUSTOMERS[:8])
    # Redis forgets all of it.
    await product.redis.bare.flushall()
    changed = replace(meeting, shards=3)
    await product.ledger.meetings.put(changed)
    await product.store.published.put([changed])
    await known.refresh()
    watch = FenceWatch(product.store, recent, meeting_of=known.get)
    await watch.look()
    await asyncio.gather(*watch._tasks)
    await recover.recover(product.parts)
    assert await claims_of(desk, *CUSTOMERS[:8]) == held
    assert (await product.states(SID))[State.QUARANTINED] == 28, "some may have been shown"


async def test_what_is_left_of_a_former_pool_is_cleared(product: InProcess) -> None:
    """Its claims are in the ledger, its bindings in the new pools; the meeting's own keys stay."""
    meeting = await spread(product, 3)
    desk, known, _, _ = await desk_of(product)
    held = await claims_of(desk, *CUSTOMERS)
    erased = CUSTOMERS[0]
    meeting = await change(product, meeting, 1)
    await product.parts.erasure.forget(SID, erased)
    assert await product.parts.recovery.former.clear() == 0, "not yet"
    assert await product.parts.recovery.former.clear(after_seconds=0) == 3
    assert [key async for key in product.redis.bare.scan_iter("lp:{intro:*")] == []
    await known.refresh()
    del held[erased]
    assert await claims_of(desk, *held) == held
    assert await product.parts.recovery.former.clear(after_seconds=0) == 0
    meeting = await change(product, meeting, 2)
    assert await product.parts.recovery.former.clear(after_seconds=0) == 1
    await known.refresh()
    assert await claims_of(desk, *held) == held
    await expire.expire(product.parts)
    assert (await product.states(SID))[State.FRESH] == 36


async def test_a_pool_that_is_needed_again_is_not_cleared(product: InProcess) -> None:
    """Clearing gives way, however far it is."""
    meeting = await spread(product, 3)
    desk, known, _, _ = await desk_of(product)
    held = await claims_of(desk, *CUSTOMERS)
    meeting = await change(product, meeting, 1)
    await product.ledger.meetings.put(replace(meeting, shards=3))
    assert await product.parts.recovery.former.clear(after_seconds=0) == 0
    await change(product, meeting, 3)
    await known.refresh()
    assert await claims_of(desk, *held) == held
    assert await product.parts.recovery.former.clear(after_seconds=0) == 1


# -- durability of each ------------------------------------------------------------


async def test_one_pool_falls_and_the_others_go_on(product: InProcess) -> None:
    """Its own fresh links are set aside, its own customers loaded, and no one else's."""
    meeting = await spread(product, 3)
    desk, _, _, _ = await desk_of(product)
    held = await claims_of(desk, *CUSTOMERS)
    lost = "intro:1/3"
    before = {level.sid: level for level in (await product.store.look_at([meeting])).pools}
    await product.redis.bare.delete(key_names.epoch(lost))
    for who in CUSTOMERS:
        if product.store.pool_of(meeting, who) == lost:
            with pytest.raises(Fenced):
                await desk.claim(SID, who)
        else:
            assert (await desk.claim(SID, who)).claim.slug == held[who]
    [status] = await statuses(product.store, product.ledger, [meeting])
    assert status.state == "recovering"
    assert await recover.recover(product.parts) == {"default"}
    after = {level.sid: level for level in (await product.store.look_at([meeting])).pools}
    for pool in meeting.pools:
        assert (after[pool].epoch == before[pool].epoch) is (pool != lost)
    assert after[lost].fresh == 0
    assert (await product.states(SID))[State.QUARANTINED] == before[lost].fresh
    assert await claims_of(desk, *CUSTOMERS) == held
    bound = [key async for key in product.redis.bare.scan_iter("lp:{intro:*:b:*")]
    assert len(bound) == len(CUSTOMERS), "each in one pool"
    [entry] = await product.ledger.audit.list()
    assert (entry.action, entry.meeting_sid) == ("recover", SID)


async def test_a_seal_keeps_the_stock_of_every_pool(product: InProcess) -> None:
    """Each has its own seal, which is spent once."""
    meeting = await spread(product, 3)
    assert await product.parts.recovery.seal(meeting.pools) == list(meeting.pools)
    assert (await product.store.look_at([meeting])).meetings[0].fence == "sealed"
    await product.redis.restart()
    stale = await product.redis.everything()
    await recover.recover(product.parts)
    [level] = (await product.store.look_at([meeting])).meetings
    assert (level.fence, level.fresh) == ("stands", 36)
    for pool in meeting.pools:
        assert await product.store.stock.oldest(pool, 100)
        old: Any = stale[key_names.epoch(pool).encode()]
        await product.redis.bare.set(key_names.epoch(pool), old)
    await product.redis.restart()
    await recover.recover(product.parts)
    [level] = (await product.store.look_at([meeting])).meetings
    assert level.fresh == 0, "a seal is believed once"


async def test_links_of_a_pool_that_go_astray_are_found(product: InProcess) -> None:
    """Each is looked for in its own pool, by the epoch of its row."""
    meeting = await spread(product, 3)
    [astray] = await product.store.stock.oldest("intro:1/3", 1)
    await product.store.stock.withdraw("intro:1/3", [astray])
    later = from_ms((await product.store.now_ms()) + 120_000)
    assert await expire.quarantine_astray(product.parts, SID, later) == 1
    assert await product.state(astray) is State.QUARANTINED
    level = await product.level("intro:2/3")
    await product.store.add("intro:2/3", level.epoch, ["stranger"], 1)
    assert await expire.withdraw_strangers(product.parts, "intro:2/3") == 1
    assert await product.store.stock.pooled("intro:2/3", ["stranger"]) == [False]
    await expire.expire(product.parts)
    assert (await product.store.look_at([meeting])).meetings[0].fresh == 35


async def test_a_claim_that_cannot_be_read_is_counted_for_its_meeting(product: InProcess) -> None:
    """The pool does not matter, and an erasure blanks it there."""
    await spread(product, 2)
    await product.redis.bare.xadd(key_names.claims("intro:1/2"), {"x": b"of c0 here"})
    await record.record(product.parts, None)
    assert await product.store.set_aside.counts() == {SID: 1}
    await product.store.set_aside.blank(SID, "c0")
    [entry] = await all_set_aside(product.store)
    assert entry.sid == "intro:1/2"
    assert b"c0" not in b"".join(entry.fields.values())


async def test_a_claim_of_any_pool_is_remembered_and_recorded(product: InProcess) -> None:
    """A claim that reaches the ledger after its booking is marked in its customer's pool."""
    meeting = await spread(product, 4)
    level = await product.level("intro:0/4")
    who = next(each for each in CUSTOMERS if product.store.pool_of(meeting, each) == "intro:3/4")
    claim = RecordedClaim(
        "late-1", "https://x/late-1", SID, who, None, None, "pool",
        from_ms(level.now_ms), from_ms(level.now_ms + 60_000),
    )  # fmt: skip
    await product.ledger.links.record([claim])
    desk, _, recent, _ = await desk_of(product)
    held = await desk.claim(SID, who)
    desk.remember(meeting, who, held.claim, payload(who))
    assert recent.sids() == {"intro:3/4"}
    assert isinstance(recent.lately("intro:3/4")[0], AnsweredClaim)
