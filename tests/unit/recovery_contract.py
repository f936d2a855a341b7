"""Test that recovery keeps its promises to every customer who was answered before the fence fell.

It is imported by files that run it on a fake Redis and on real ones; the importing module defines
`any_redis`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from pool.config.settings import Settings, Workspace
from pool.durability.rebinding import as_rebind
from pool.durability.recorder import Recorder
from pool.durability.recovery import PoolRecovery
from pool.durability.reopening import Recovered
from pool.errors import Fenced, LedgerUnavailable, StoreUnavailable
from pool.ledger import Ledger
from pool.ledger.records import Binding
from pool.model.bookings import Booking
from pool.model.claims import booked_claim
from pool.model.links import Booked, Link, State
from pool.model.meetings import Meeting
from pool.model.times import to_ms
from pool.providers import NewLink
from pool.store import key_names
from pool.store.records import AnsweredClaim, Block, Outcome, payload
from pool.supply.pool_writer import PoolWriter
from tests.any_redis import AnyRedis
from tests.integration.ledger_samples import NOW, report

SID = "intro"
BASE = "https://acme.neetocal.com"
NEW, REUSED = Outcome.NEW, Outcome.REUSED
ACME = Workspace(name="default", subdomain="acme", api_key=SecretStr("key"))


def booking(slug: str, state: State) -> Booking:
    """Return a report of a booking that brings the link into this state."""
    word = {State.CONSUMED: "confirmed", State.CANCELLED: "cancelled"}[state]
    return report(slug, word, sid=f"b-{slug}", starts_at=NOW, time_zone="Europe/Vienna")


@dataclass
class Stage:
    """One meeting, its pool in Redis, the ledger, and what heals them."""

    redis: AnyRedis
    ledger: Ledger
    recorder: Recorder
    fence: PoolRecovery
    conflicts: list[None] = field(default_factory=list)
    quarantined: list[int] = field(default_factory=list)  # one number for each fence that fell

    @property
    def store(self) -> Any:
        return self.redis.store

    async def recover(self, grace_seconds: float = 0.0) -> Recovered:
        return await self.fence.recover(SID, grace_seconds=grace_seconds)

    async def top_up(self, *slugs: str) -> None:
        [level] = await self.store.look([SID])
        for slug in slugs:
            await PoolWriter(self.store, self.ledger).put(
                SID, level.epoch, NewLink(slug, f"{BASE}/{slug}")
            )

    async def claim(self, who: str) -> tuple[Outcome, str]:
        name = self.store.names.name(SID, who)
        [answer] = (await self.store.claim(SID, [(name, payload(who))])).answers
        return answer.outcome, answer.claim.slug if answer.claim else ""

    async def answered(self, who: str) -> AnsweredClaim:
        """Claim. Return what the process that answered keeps of it."""
        await self.claim(who)
        held = await self.store.claim_of(SID, who)
        return AnsweredClaim(who, held, 60_000, payload(who))

    async def book(self, slug: str, state: State) -> None:
        settled = await self.ledger.bookings.settle(booking(slug, state))
        claim = booked_claim(settled.link, settled.foremost)
        await self.store.mark(SID, slug, settled.link.customer_id, claim)

    async def state(self, slug: str) -> State:
        link = await self.ledger.links.get(slug)
        assert link is not None
        return link.state

    async def pooled(self) -> list[str]:
        return [slug.decode() for slug in await self.redis.bare.zrange(key_names.fresh(SID), 0, -1)]

    async def lose_claim(self, who: str, slug: str) -> None:
        """Make Redis as it was before this claim: what an older file would hold."""
        await self.redis.bare.delete(key_names.binding(SID, self.store.names.name(SID, who)))
        await self.redis.bare.delete(key_names.claims(SID))
        await self.redis.bare.zadd(key_names.fresh(SID), {slug: 1})


def stage_on(redis: AnyRedis, ledger: Ledger, *, redis_forgets: bool = True) -> Stage:
    conflicts: list[None] = []
    quarantined: list[int] = []
    settings = Settings(workspaces={"default": ACME})
    recorder = Recorder(redis.store, ledger, settings, conflict=lambda: conflicts.append(None))
    fence = PoolRecovery(
        redis.store, ledger, recorder, redis_forgets=redis_forgets, fallen=quarantined.append
    )
    return Stage(redis, ledger, recorder, fence, conflicts, quarantined)


@pytest.fixture
async def unopened(any_redis: AnyRedis, any_ledger: Ledger) -> Stage:
    """Return a meeting that has no pool yet."""
    stage = stage_on(any_redis, any_ledger)
    await stage.ledger.meetings.put(Meeting(SID))
    return stage


@pytest.fixture
async def stage(unopened: Stage) -> Stage:
    """Return an open pool of three links."""
    assert await unopened.recover() is Recovered.OPENED
    await unopened.top_up("a-1", "a-2", "a-3")
    return unopened


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


# -- when recovery itself is disturbed ---------------------------------------------


async def down(*_: object, **__: object) -> Any:
    raise LedgerUnavailable("the ledger is away")


async def test_of_two_recoveries_one_gives_way(stage: Stage) -> None:
    """The second learns that another recovery is under way, and does nothing."""
    await stage.redis.restart()
    other = stage_on(stage.redis, stage.ledger)
    results = await asyncio.gather(stage.recover(0.1), other.recover(0.1))
    assert sorted(results) == [Recovered.BUSY, Recovered.QUARANTINED]
    assert stage.quarantined + other.quarantined == [3]
    assert await stage.recover() is Recovered.STANDS


@pytest.mark.parametrize(
    "step", ["meetings.get", "counts.of", "links.record", "links.quarantine_fresh"]
)
async def test_a_ledger_that_fails_midway_leaves_the_pool_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nothing is handed out after half a recovery, and the next one does all of it."""
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await stage.claim("bob")
    epoch = await stage.redis.bare.get(key_names.epoch(SID))
    await stage.redis.restart()
    if step == "counts.of":  # it is asked only where there is no epoch
        await stage.redis.bare.delete(key_names.epoch(SID))
    table, name = step.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(stage.ledger, table), name, down)
        with pytest.raises(LedgerUnavailable):
            await stage.recover()
        assert await stage.redis.bare.get(key_names.recovery_lock(SID)) is None
    with pytest.raises(Fenced):
        await stage.claim("cyd")
    assert await stage.redis.bare.get(key_names.epoch(SID)) in (epoch, None)
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.claim("bob") == (REUSED, "a-2")


def interrupted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, event: Callable[[], Awaitable[object]]
) -> pytest.MonkeyPatch:
    """Let something happen while the bindings are being loaded."""
    load = stage.ledger.links.live_bindings

    async def bindings(sid: str) -> Any:
        async for page in load(sid):
            await event()
            yield page

    monkeypatch.setattr(stage.ledger.links, "live_bindings", bindings)
    return monkeypatch


async def disturbed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, event: Callable[[], Awaitable[object]]
) -> Recovered:
    """Run a recovery during which something happens."""
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await stage.redis.restart()
    with monkeypatch.context() as patch:
        interrupted(stage, patch, event)
        return await stage.recover()


async def closed_then_recovered(stage: Stage) -> None:
    with pytest.raises(Fenced):
        await stage.claim("bob")
    await stage.redis.bare.delete(key_names.recovery_lock(SID))  # it would expire by itself
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_a_ledger_that_fails_while_bindings_load_leaves_the_pool_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that knows half of its customers would give the other half a second link."""
    with pytest.raises(LedgerUnavailable):
        await disturbed(stage, monkeypatch, down)
    await closed_then_recovered(stage)


async def test_a_recovery_whose_lock_is_lost_gives_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens nothing: another recovery may have begun anew."""

    async def lose() -> None:
        await stage.redis.bare.set(key_names.recovery_lock(SID), "somebody-else")

    assert await disturbed(stage, monkeypatch, lose) is Recovered.BUSY
    await closed_then_recovered(stage)


async def test_a_recovery_during_which_redis_changes_gives_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had loaded bindings into a server that is no longer the master."""
    assert await disturbed(stage, monkeypatch, stage.redis.fail_back) is Recovered.BUSY
    await closed_then_recovered(stage)


async def test_bindings_are_put_back_one_call_after_the_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest claimed link of a customer comes last, so no call may overtake another."""
    for who in ("ann", "bob"):
        await stage.claim(who)
    await stage.recorder.record(SID)
    monkeypatch.setattr("pool.durability.rebinding.CALL", 1)
    put, under_way, calls = stage.store.recovery.put, [0], [0]

    async def watched(*arguments: Any) -> None:
        under_way[0] += 1
        calls[0] += 1
        assert under_way[0] == 1
        await asyncio.sleep(0.01)
        await put(*arguments)
        under_way[0] -= 1

    monkeypatch.setattr(stage.store.recovery, "put", watched)
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert calls[0] >= 2


async def test_a_recovery_without_end_leaves_no_pool_elsewhere_standing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has set aside links that another master's pool still has; that one is recovered, too."""
    [elsewhere] = await stage.store.look([SID])
    assert await stage.fence.fallen([elsewhere]) == []
    await stage.redis.restart()

    async def lost(*_: object, **__: object) -> str:
        raise StoreUnavailable("Redis: it is a replica by now", connection_lost=True)

    monkeypatch.setattr(stage.store.recovery, "begin", lost)
    with pytest.raises(StoreUnavailable):
        await stage.recover()
    assert elsewhere.fence == "stands"
    assert await stage.fence.fallen([elsewhere]) == [SID]


async def test_a_redis_that_fails_at_the_last_step_leaves_the_pool_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch is set last of all."""

    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("Redis is away", connection_lost=True)

    await stage.claim("ann")
    await stage.recorder.record(SID)
    await stage.redis.restart()
    with monkeypatch.context() as patch:
        patch.setattr(stage.store.recovery, "open", unavailable)
        with pytest.raises(StoreUnavailable):
            await stage.recover()
    await closed_then_recovered(stage)


async def test_stock_made_before_the_fall_does_not_enter_after_recovery(stage: Stage) -> None:
    """A top-up that was slow adds nothing of the old epoch; its link is set aside."""
    [before] = await stage.store.look([SID])
    await stage.redis.restart()
    await stage.recover()
    new = NewLink("late-1", f"{BASE}/late-1")
    assert await PoolWriter(stage.store, stage.ledger).put(SID, before.epoch, new) == "quarantined"
    assert await stage.state("late-1") is State.QUARANTINED
    assert await stage.pooled() == []


# -- the recorder --------------------------------------------------------------------


async def test_a_claim_is_recorded_in_full(stage: Stage) -> None:
    """Customer, e-mail, metadata, times and address of the link, once and for all."""
    name = stage.store.names.name(SID, "ann")
    await stage.store.claim(SID, [(name, payload("ann", "ann@example.com", {"lead": 7}))])
    assert await stage.recorder.record(SID) == 1
    assert await stage.recorder.record(SID) == 0
    link = await stage.ledger.links.get("a-1")
    held = await stage.store.claim_of(SID, "ann")
    assert isinstance(link, Link)
    assert (link.customer_id, link.email, link.metadata) == ("ann", "ann@example.com", {"lead": 7})
    assert link.claimed_at == datetime.fromtimestamp(held.claimed_at_ms / 1000, UTC)
    assert link.lapses_at == link.claimed_at + timedelta(days=30)


async def test_an_unrecorded_claim_stays_in_the_stream(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays until the ledger has it: an hour's outage loses nothing."""
    await stage.claim("ann")
    with monkeypatch.context() as patch:
        patch.setattr(stage.ledger.links, "record", down)
        with pytest.raises(LedgerUnavailable):
            await stage.recorder.record(SID)
    assert await stage.recorder.record(SID) == 1
    assert await stage.state("a-1") is State.CLAIMED


async def test_redis_learns_of_a_faster_booking_by_the_recorder(stage: Stage) -> None:
    """The link was consumed before the ledger knew its customer."""
    await stage.claim("ann")
    await stage.book("a-1", State.CONSUMED)
    held = await stage.store.claim_of(SID, "ann")
    assert held.state == "claimed", "nobody knew yet whose it is"
    await stage.recorder.record(SID)
    held = await stage.store.claim_of(SID, "ann")
    assert (held.state, held.slug, held.booking_sid) == ("consumed", "a-1", "b-a-1")


async def test_one_link_with_two_customers_raises_an_alarm(stage: Stage) -> None:
    """The recorder detects what the fence cannot, and the first customer keeps the link."""
    await stage.claim("ann")
    await stage.recorder.record(SID)
    held = await stage.store.claim_of(SID, "ann")
    await stage.store.assert_again(SID, [AnsweredClaim("bob", held, 60_000, payload("bob"))])
    assert await stage.recorder.record(SID) == 1
    assert len(stage.conflicts) == 1
    [entry] = await stage.ledger.audit.list(10, SID)
    assert (entry.action, entry.detail) == ("conflict", {"slug": "a-1"})
    link = await stage.ledger.links.get("a-1")
    assert link is not None
    assert link.customer_id == "ann"


async def forget(stage: Stage, who: str) -> None:
    """Forget a customer, as an operator must do on request."""
    await stage.recorder.record(SID)
    name = stage.store.names.name(SID, who)
    for link in await stage.ledger.links.forget(SID, who, name, stage.store.names.marks):
        await stage.store.mark(SID, link.slug, who, None)


async def test_an_older_file_does_not_bring_a_forgotten_customer_back(stage: Stage) -> None:
    """Recovery drops the binding by the name that was kept; a customer who claimed since keeps
    their link.
    """
    for who in ("ann", "bob"):
        await stage.claim(who)
    bindings = {
        who: key_names.binding(SID, stage.store.names.name(SID, who)) for who in ("ann", "bob")
    }
    older = {key: await stage.redis.bare.get(key) for key in bindings.values()}
    for who in bindings:
        await forget(stage, who)
    assert await stage.redis.bare.exists(*older) == 0
    assert await stage.claim("bob") == (NEW, "a-3")
    await stage.recorder.record(SID)
    # As an older file of Redis has it, which knows nothing of bob's second link.
    await stage.redis.bare.mset(older)
    await stage.redis.restart()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.store.claim_of(SID, "ann") is None
    assert await stage.claim("bob") == (REUSED, "a-3")


async def test_a_claim_asserted_again_does_not_bring_a_forgotten_customer_back(
    stage: Stage,
) -> None:
    """An API process remembers its answers for ten seconds, but the recorder refuses the
    customer.
    """
    answered = await stage.answered("ann")
    await forget(stage, "ann")
    assert await stage.store.assert_again(SID, [answered]) == 0
    assert await stage.store.claim_of(SID, "ann") is not None
    assert await stage.recorder.record(SID) == 1
    assert await stage.store.claim_of(SID, "ann") is None
    link = await stage.ledger.links.get("a-1")
    assert link is not None
    assert (link.state, link.customer_id) == (State.LAPSED, None)


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
