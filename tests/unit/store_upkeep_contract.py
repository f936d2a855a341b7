"""Hold any Redis to what it owes workers: the budget, looks, locks, settings, several pools.

The modules that import the tests of store_contract.py import these, too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pool.errors import Fenced, StoreUnavailable
from pool.model.meetings import Meeting
from pool.model.pools import nonce_of
from pool.store import key_names, scripts
from pool.store.bindings import pack
from pool.store.published import digest
from pool.store.records import (
    Block,
    Totals,
)
from pool.store.recovery import Closed, Rebind, RecoveryLost
from tests.any_redis import AnyRedis
from tests.unit.store_contract import (
    NEW,
    REUSED,
    SID,
    TTL_SECONDS,
    bind,
    binding_key,
    booked,
    claim,
    fresh,
    held_claim,
    open_pool,
)
from tests.unit.store_replay_contract import answered_claim

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
    """It falls to half and a little less, and of several at once only the first counts."""
    budget = any_redis.store.budget
    await budget.take("w", first_rate=100, within_seconds=1)
    lowered = await budget.report("w", "throttled", first_rate=100)
    assert 40 <= lowered <= 50
    assert await budget.report("w", "throttled", first_rate=100) == pytest.approx(lowered, abs=0.1)
    assert await budget.rate("w") == pytest.approx(lowered, abs=0.01)


async def test_no_rate_falls_to_nothing(any_redis: AnyRedis) -> None:
    """A provider that refuses for long is still asked from time to time."""
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


# -- look ----------------------------------------------------------------------------


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
    """Other meetings of the same look are read."""
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


# -- locks ---------------------------------------------------------------------------


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
        async with asyncio.timeout(30):
            for _ in range(2):  # renewed once, and again
                left_ms, now_ms = 1_000, await any_redis.bare.pttl("lock")
                while now_ms <= left_ms:
                    assert now_ms > 0, "the lock expired"
                    await asyncio.sleep(0.01)
                    left_ms, now_ms = now_ms, await any_redis.bare.pttl("lock")
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


# -- published -----------------------------------------------------------------------


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


# -- whatever may happen to a call ---------------------------------------------------


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


# -- several pools of one meeting ----------------------------------------------------


async def open_pools(redis: AnyRedis, shards: int, links: int = 2) -> Meeting:
    """Publish a meeting with this number of shards, and open its pools with links in each."""
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
    """The owner of its lock clears it, and keys of the meeting as a whole stay."""
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
    """It takes its own out of any number of the meeting's bindings."""
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
