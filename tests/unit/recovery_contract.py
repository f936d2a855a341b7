"""Test that recovery keeps its promises to every customer who was answered before the fence fell.

It is imported by files that run it on a fake Redis and on real ones; the importing module defines
`any_redis`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from pool.durability.rebinding import as_rebind
from pool.durability.reopening import Recovered
from pool.errors import Fenced, LedgerUnavailable
from pool.ledger.records import Binding
from pool.model.links import Booked, State
from pool.model.times import to_ms
from pool.store import key_names
from pool.store.records import Block, Outcome
from tests.any_redis import AnyRedis
from tests.integration.ledger_samples import NOW
from tests.unit.recovery_stage import NEW, REUSED, SID, Stage, booking, down, stage_on

FALLS: dict[str, Callable[[AnyRedis], Awaitable[object]]] = {
    "another process": lambda redis: redis.restart(),
    "the same process, master anew": lambda redis: redis.fail_back(),
    "FLUSHALL": lambda redis: redis.bare.flushall(),
}


every_fall = pytest.mark.parametrize("fall", FALLS.values(), ids=FALLS)


async def test_a_new_pool_is_opened(unopened: Stage) -> None:
    """It serves at once, and nobody is alarmed."""
    with pytest.raises(Fenced):
        await unopened.claim("ann")
    assert await unopened.recover() is Recovered.OPENED
    assert await unopened.recover() is Recovered.STANDS
    assert await unopened.claim("ann") == (Outcome.EMPTY, "")
    assert unopened.quarantined == []
    assert await unopened.ledger.audit.list(10, SID) == []


async def test_a_meeting_the_ledger_does_not_know_is_not_opened(unopened: Stage) -> None:
    """A meeting that only Redis knows is not trusted."""
    assert await unopened.fence.recover("other", grace_seconds=0) is Recovered.UNKNOWN
    assert (await unopened.store.look(["other"]))[0].fence == "fallen"


@every_fall
async def test_a_recovered_pool_has_forgotten_no_recorded_claim(
    stage: Stage, fall: Callable[[AnyRedis], Awaitable[object]]
) -> None:
    """Bindings come back; links that were fresh are set aside for good; new stock works."""
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await fall(stage.redis)
    with pytest.raises(Fenced):
        await stage.claim("ann")
    assert await stage.recover() is Recovered.QUARANTINED
    assert stage.quarantined == [2]
    assert [await stage.state(slug) for slug in ("a-1", "a-2", "a-3")] == [
        State.CLAIMED,
        State.QUARANTINED,
        State.QUARANTINED,
    ]
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.claim("bob") == (Outcome.EMPTY, "")
    await stage.top_up("b-1")
    assert await stage.claim("bob") == (NEW, "b-1")
    [entry] = await stage.ledger.audit.list(10, SID)
    assert (entry.action, entry.reason, entry.detail) == (
        "recover",
        "quarantined",
        {"quarantined": 2},
    )


async def test_what_the_stream_still_holds_is_recorded_first(stage: Stage) -> None:
    """A claim that Redis remembers is the truth, though the fence has fallen."""
    await stage.claim("ann")
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.state("a-1") is State.CLAIMED
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_a_claim_of_the_lost_second_is_asserted_before_recovery(stage: Stage) -> None:
    """The process that answered asserts the claim while recovery waits; the customer keeps the
    link.
    """
    answered = await stage.answered("ann")
    await stage.lose_claim("ann", "a-1")
    await stage.redis.restart()
    assert await stage.store.assert_again(SID, [answered]) == 0
    assert await stage.recover() is Recovered.QUARANTINED
    assert stage.quarantined == [2]
    assert await stage.state("a-1") is State.CLAIMED
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_recovery_waits_for_those_who_answered(stage: Stage) -> None:
    """An assertion made within the grace is recorded by the same recovery."""
    answered = await stage.answered("ann")
    await stage.redis.bare.flushall()
    recovery = asyncio.create_task(stage.recover(grace_seconds=0.3))
    await asyncio.sleep(0.1)
    await stage.store.assert_again(SID, [answered])
    assert await recovery is Recovered.QUARANTINED
    assert await stage.state("a-1") is State.CLAIMED
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_an_assertion_that_comes_late_is_still_the_truth(stage: Stage) -> None:
    """The quarantined link turns out to be claimed, and is the customer's again."""
    answered = await stage.answered("ann")
    await stage.lose_claim("ann", "a-1")
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.state("a-1") is State.QUARANTINED
    assert await stage.store.assert_again(SID, [answered]) == 0
    await stage.recorder.record(SID)
    assert await stage.state("a-1") is State.CLAIMED
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert stage.conflicts == []


async def test_a_claim_that_nobody_asserts_is_never_given_to_another(stage: Stage) -> None:
    """Its link is set aside, since the visitor's page may still show it."""
    await stage.claim("ann")
    await stage.lose_claim("ann", "a-1")
    await stage.redis.restart()
    await stage.recover()
    await stage.top_up("b-1", "b-2")
    assert await stage.claim("bob") == (NEW, "b-1")
    assert await stage.claim("ann") == (NEW, "b-2")
    assert await stage.state("a-1") is State.QUARANTINED


async def test_bookings_and_cancellations_outlive_redis(stage: Stage) -> None:
    """A booked customer still sees the booking, and after a cancellation may claim again; the
    latest claim counts.
    """
    for who in ("ann", "bob", "cyd"):
        await stage.claim(who)
    await stage.recorder.record(SID)
    await stage.book("a-1", State.CONSUMED)
    await stage.book("a-2", State.CANCELLED)
    await stage.book("a-3", State.CANCELLED)
    await stage.top_up("b-1")
    assert await stage.claim("cyd") == (NEW, "b-1")
    await stage.recorder.record(SID)
    await stage.redis.bare.flushall()
    await stage.recover()
    held = await stage.store.claim_of(SID, "ann")
    assert (held.slug, held.state, held.booking_sid) == ("a-1", "consumed", "b-a-1")
    assert held.booked == Booked("b-a-1", "confirmed", to_ms(NOW), None, "Europe/Vienna", None)
    assert await stage.store.claim_of(SID, "bob") is None
    assert await stage.claim("cyd") == (REUSED, "b-1")


async def test_a_cancelled_binding_in_an_older_file_is_dropped(stage: Stage) -> None:
    """The ledger knows of the cancellation that Redis has forgotten."""
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await stage.ledger.bookings.settle(booking("a-1", State.CANCELLED))
    await stage.redis.restart()
    await stage.recover()
    assert await stage.store.claim_of(SID, "ann") is None


async def test_a_claim_asserted_after_its_cancellation_is_dropped_again(stage: Stage) -> None:
    """The recorder updates Redis to the link's present state."""
    answered = await stage.answered("ann")
    await stage.recorder.record(SID)
    await stage.book("a-1", State.CANCELLED)
    await stage.redis.restart()
    await stage.store.assert_again(SID, [answered])
    await stage.recover()
    assert await stage.store.claim_of(SID, "ann") is None


# -- seals -------------------------------------------------------------------------


async def test_a_block_that_an_older_file_brings_back_is_probed_at_once(stage: Stage) -> None:
    """It may have been lifted since; waiting a minute for its probe would keep the pool empty."""
    now_ms = await stage.store.now_ms()
    for put, name in ((stage.store.blocks.put, SID), (stage.store.blocks.put_workspace, "default")):
        await put(name, Block("NeetoCal is away", now_ms, now_ms).put_off(now_ms, 60))
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    [level] = await stage.store.look([SID])
    blocks = [level.block, await stage.store.blocks.of_workspace("default")]
    assert [block.reason for block in blocks] == ["NeetoCal is away"] * 2
    assert all(block.is_probe_due(now_ms, 60) for block in blocks)


async def test_a_planned_stop_costs_nothing(stage: Stage) -> None:
    """After seal and restart the same links are handed out, and nothing is quarantined."""
    await stage.claim("ann")
    assert await stage.fence.seal([SID]) == [SID]
    assert await stage.state("a-1") is State.CLAIMED, "the stream was recorded"
    with pytest.raises(Fenced):
        await stage.claim("ann")
    assert await stage.recover() is Recovered.SEALED
    await stage.redis.restart()
    assert await stage.recover() is Recovered.ADOPTED
    assert await stage.pooled() == ["a-2", "a-3"]
    assert stage.quarantined == []
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.claim("bob") == (NEW, "a-2")
    await stage.top_up("b-1")
    assert await stage.pooled() == ["a-3", "b-1"]


async def test_an_adopted_pools_links_are_of_the_new_epoch(stage: Stage) -> None:
    """A link that went astray can then be distinguished from one in the pool."""
    await stage.fence.seal([SID])
    await stage.redis.restart()
    await stage.recover()
    [level] = await stage.store.look([SID])
    links = await stage.ledger.links.find(["a-1", "a-2", "a-3"])
    assert {link.epoch for link in links} == {level.epoch}


async def test_a_seal_can_be_taken_back(stage: Stage) -> None:
    """A seal can be taken back by its maker without stopping Redis, which has forgotten nothing."""
    await stage.fence.seal([SID])
    assert await stage.fence.unseal([SID]) == [SID]
    assert await stage.claim("ann") == (NEW, "a-1")
    assert await stage.fence.unseal([SID]) == []


async def test_an_old_backup_with_a_spent_seal_is_not_believed(stage: Stage) -> None:
    """Its links may have been handed out since."""
    await stage.fence.seal([SID])
    epoch_of_backup = await stage.redis.bare.get(key_names.epoch(SID))
    await stage.redis.restart()
    await stage.recover()
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await stage.lose_claim("ann", "a-1")
    await stage.redis.bare.set(key_names.epoch(SID), epoch_of_backup)
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.pooled() == []
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_a_seal_is_void_once_the_pool_was_recovered_without_it(stage: Stage) -> None:
    """The file that bears it is put back after the pool went on: it lacks what came since."""
    await stage.fence.seal([SID])
    epoch_of_backup = await stage.redis.bare.get(key_names.epoch(SID))
    await stage.redis.bare.flushall()
    assert await stage.recover() is Recovered.QUARANTINED
    await stage.top_up("b-1")
    assert await stage.claim("ann") == (NEW, "b-1")
    await stage.recorder.record(SID)
    await stage.redis.bare.flushall()
    await stage.redis.bare.zadd(key_names.fresh(SID), {"a-1": 1, "a-2": 2, "a-3": 3})
    await stage.redis.bare.set(key_names.epoch(SID), epoch_of_backup)
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.pooled() == []
    assert await stage.claim("ann") == (REUSED, "b-1")


@every_fall
async def test_a_fallen_pool_is_not_sealed(
    stage: Stage, fall: Callable[[AnyRedis], Awaitable[object]]
) -> None:
    """It cannot be adopted later as if it had forgotten nothing."""
    await fall(stage.redis)
    assert await stage.fence.seal([SID]) == []
    assert await stage.recover() is Recovered.QUARANTINED


async def test_a_seal_the_ledger_did_not_get_is_not_believed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the token in the ledger nothing is adopted."""
    with monkeypatch.context() as patch:
        patch.setattr(stage.ledger.meetings, "seal", down)
        with pytest.raises(LedgerUnavailable):
            await stage.fence.seal([SID])
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED


async def test_a_redis_that_cannot_forget_is_adopted(stage: Stage) -> None:
    """It is adopted where the operator says that it cannot forget; but a Redis without an epoch has
    forgotten all the same.
    """
    lasting = stage_on(stage.redis, stage.ledger, redis_forgets=False)
    await stage.redis.restart()
    assert await lasting.recover() is Recovered.ADOPTED
    assert await lasting.claim("ann") == (NEW, "a-1")
    await lasting.recorder.record(SID)
    await stage.redis.bare.flushall()
    assert await lasting.recover() is Recovered.QUARANTINED
    assert lasting.quarantined == [2]
    assert await lasting.claim("ann") == (REUSED, "a-1")


def test_what_a_ledger_row_asks_of_redis() -> None:
    """A claim for the time left, a booking for good, a cancellation to drop, a lapse nothing."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    now_ms = round(now.timestamp() * 1000)

    def row(state: State, lapses_in: int | None) -> Binding:
        lapses_at_ms = None if lapses_in is None else now_ms + lapses_in * 1000
        return Binding("ann", "a-1", state, "pool", now_ms, lapses_at_ms, now_ms, "b1")

    def asked(state: State, lapses_in: int | None) -> tuple[str, int] | None:
        rebind = as_rebind(row(state, lapses_in), now_ms)
        return (rebind.what, rebind.ttl_ms) if rebind else None

    assert asked(State.CLAIMED, 60) == ("bind", 60_000)
    assert asked(State.CLAIMED, 0) is None
    assert asked(State.CLAIMED, -60) is None
    assert asked(State.CLAIMED, None) is None
    assert asked(State.CONSUMED, -60) == ("bind", 0)
    assert asked(State.CANCELLED, 60) == ("drop", 0)


async def test_a_master_that_was_passed_over_is_recovered(stage: Stage) -> None:
    """A failover that is taken back leaves the first master as it was; but the pool was opened
    on the other one meanwhile, and the ledger has set the first one's links aside."""
    await stage.claim("ann")
    await stage.ledger.links.quarantine_fresh(SID, at=datetime.now(UTC))
    await stage.ledger.facts.put(f"opened:{SID}", "another:server:epoch")
    [level] = await stage.store.look([SID])
    assert level.fence == "stands"
    assert await stage.fence.fallen([level]) == [SID]
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.pooled() == []
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.fence.fallen(await stage.store.look([SID])) == []
    assert await stage.recover() is Recovered.STANDS
