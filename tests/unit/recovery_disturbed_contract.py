"""Test that a recovery which is disturbed on its way leaves the pool closed, until one is not.

It is imported as `recovery_contract` is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pool.durability.reopening import Recovered
from pool.errors import Fenced, LedgerUnavailable, StoreUnavailable
from pool.model.links import State
from pool.providers import NewLink
from pool.store import key_names
from pool.supply.pool_writer import PoolWriter
from tests.unit.recovery_stage import BASE, REUSED, SID, Stage, down, stage_on


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
