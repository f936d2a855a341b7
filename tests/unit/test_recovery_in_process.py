"""Test sealing and recovering pools: the seals that are believed, the links that are set aside, and
the reports.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from pool.durability.rebinding import as_rebind
from pool.durability.reopening import Recovered
from pool.errors import LedgerUnavailable
from pool.ledger.records import Binding, RecordedClaim
from pool.model.links import State
from pool.store import key_names
from pool.store.records import Block
from tests.in_process import InProcess, in_process


def binding(state: State, **fields: Any) -> Binding:
    values: dict[str, Any] = {
        "customer_id": "ann", "slug": "a-1", "state": state, "source": "direct",
        "claimed_at_ms": 1_000, "lapses_at_ms": 61_000, "consumed_at_ms": None, "booking_sid": None,
    }  # fmt: skip
    return Binding(**values | fields)


def test_a_claim_is_bound_for_as_long_as_it_holds() -> None:
    """A claim that lapsed, or has no end, is not bound again."""
    rebind = as_rebind(binding(State.CLAIMED), 11_000)
    assert rebind is not None
    assert (rebind.customer_id, rebind.what, rebind.ttl_ms) == ("ann", "bind", 50_000)
    assert rebind.claim is not None
    assert (rebind.claim.slug, rebind.claim.state, rebind.claim.source) == (
        "a-1", "claimed", "direct",
    )  # fmt: skip
    assert rebind.claim.claimed_at_ms == 1_000
    assert as_rebind(binding(State.CLAIMED), 61_000) is None
    assert as_rebind(binding(State.CLAIMED), 60_999) is not None
    assert as_rebind(binding(State.CLAIMED, lapses_at_ms=None), 11_000) is None


def test_a_booked_link_is_bound_for_good_and_a_cancelled_one_dropped() -> None:
    """A booked link is bound for good, at any time."""
    booked = as_rebind(binding(State.CONSUMED, consumed_at_ms=5_000, booking_sid="b-1"), 10**12)
    assert booked is not None
    assert (booked.what, booked.ttl_ms) == ("bind", 0)
    assert booked.claim is not None
    assert (booked.claim.state, booked.claim.consumed_at_ms, booked.claim.booking_sid) == (
        "consumed", 5_000, "b-1",
    )  # fmt: skip
    cancelled = as_rebind(binding(State.CANCELLED), 10**12)
    assert cancelled is not None
    assert cancelled.what == "drop"


async def test_a_new_pool_is_opened_without_a_word(product: InProcess) -> None:
    """Nothing was lost, so there is no alarm, no entry in the audit, and no wait."""
    await product.meeting("intro", is_open=False)
    assert await product.parts.recovery.recover("intro", grace_seconds=60) is Recovered.OPENED
    assert (await product.level("intro")).fence == "stands"
    assert await product.ledger.audit.list() == []
    assert not (await product.store.alerts.look(await product.store.now_ms())).fence_fell
    assert product.metric("linkpool_fences_total") == 0


async def test_a_pool_that_stands_is_left_alone(product: InProcess) -> None:
    """The pool may be looked at any number of times."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    before = await product.level("intro")
    assert await product.parts.recovery.recover("intro", grace_seconds=60) is Recovered.STANDS
    assert (await product.level("intro")).epoch == before.epoch
    assert await product.pooled("intro") == ["a-1"]


async def test_a_meeting_that_the_ledger_does_not_know_is_not_opened(product: InProcess) -> None:
    """A stranger who can reach Redis makes no pools."""
    assert await product.parts.recovery.recover("ghost", grace_seconds=0) is Recovered.UNKNOWN
    assert await product.redis.bare.get(key_names.epoch("ghost")) is None


async def test_a_fall_is_reported_and_noted(product: InProcess) -> None:
    """The number of links set aside stands in the audit and the metrics."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2", "a-3")
    await product.claim("intro", "ann")
    await product.redis.restart()
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED
    assert await product.states("intro") == {State.CLAIMED: 1, State.QUARANTINED: 2}
    [entry] = await product.ledger.audit.list()
    assert (entry.actor, entry.action, entry.meeting_sid) == ("linkpool", "recover", "intro")
    assert (entry.reason, entry.detail) == ("quarantined", {"quarantined": 2})
    assert (await product.store.alerts.look(await product.store.now_ms())).fence_fell
    assert product.metric("linkpool_fences_total") == 1
    assert product.metric("linkpool_quarantined_links_total") == 2


async def test_every_binding_is_loaded_back_however_many_there_are(product: InProcess) -> None:
    """More than a script call takes; those that lapsed are not, nor are the cancelled."""
    await product.meeting("intro")
    now = datetime.now(UTC)
    claims = [
        RecordedClaim(
            f"a-{n:04d}", "u", "intro", f"c{n}", None, None, "pool",
            now - timedelta(hours=2), now + timedelta(hours=1 if n else -1),
        )
        for n in range(1_203)
    ]  # fmt: skip
    await product.ledger.links.record(claims)
    for state in ("confirmed", "cancelled"):
        await product.book("a-0001", state)
    await product.redis.restart()
    await product.parts.recovery.recover("intro", grace_seconds=0)
    found = [await product.store.claim_of("intro", f"c{n}") for n in range(1_203)]
    assert found[:2] == [None, None]
    assert [each.slug for each in found if each] == [f"a-{n:04d}" for n in range(2, 1_203)]
    left = await product.redis.bare.pttl(
        key_names.binding("intro", product.store.names.name("intro", "c2"))
    )
    assert 3_500_000 < left <= 3_600_000


async def test_a_pool_opened_elsewhere_meanwhile_counts_as_fallen(product: InProcess) -> None:
    """A master that never learned of the failover must not go on."""
    await product.meeting("intro")
    level = await product.level("intro")
    assert await product.parts.recovery.fallen([level]) == []
    await product.ledger.facts.put("opened:intro", "another:server:1")
    assert await product.parts.recovery.fallen([level]) == ["intro"]
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED
    assert await product.parts.recovery.fallen([await product.level("intro")]) == []


async def test_a_planned_stop_costs_nothing_once(product: InProcess) -> None:
    """The pool goes on with its links; the same seal is not believed again."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann")
    assert await product.parts.recovery.seal(["intro", "ghost"]) == ["intro"]
    sealed = await product.redis.bare.get(key_names.epoch("intro"))
    assert await product.state("a-1") is State.CLAIMED  # recorded with the seal
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.SEALED
    await product.redis.restart()
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.ADOPTED
    assert await product.pooled("intro") == ["a-2"]
    row = await product.ledger.links.get("a-2")
    assert row is not None
    assert row.epoch == (await product.level("intro")).epoch
    assert await product.claim("intro", "ann", "ben") == ["a-1", "a-2"]
    assert product.metric("linkpool_fences_total") == 0
    await product.redis.bare.set(key_names.epoch("intro"), sealed)
    await product.redis.restart()
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED


@pytest.mark.parametrize("clustered", [False, True], ids=["one Redis", "a Cluster"])
async def test_only_on_a_cluster_are_bindings_loaded_into_a_pool_that_is_adopted(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, clustered: bool
) -> None:
    """Its keys may have moved one by one. On one Redis visitors would only wait for them."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann")
    await product.parts.recovery.seal(["intro"])
    await product.redis.restart()
    loaded: list[str] = []

    async def load(_store: object, _ledger: object, pool: str, _lock: object) -> None:
        loaded.append(pool)

    monkeypatch.setattr(type(product.store), "is_cluster", property(lambda _store: clustered))
    monkeypatch.setattr("pool.durability.reopening.load_bindings", load)
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.ADOPTED
    assert loaded == (["intro"] if clustered else [])


async def test_a_seal_that_was_passed_over_is_not_believed_later(product: InProcess) -> None:
    """The pool was recovered without the file that bears it, and handed out links since."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.parts.recovery.seal(["intro"])
    sealed = await product.redis.bare.get(key_names.epoch("intro"))
    await product.redis.restart()
    await product.redis.bare.delete(key_names.epoch("intro"))
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED
    await product.stock("intro", "a-2")
    await product.redis.bare.set(key_names.epoch("intro"), sealed)
    await product.redis.restart()
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED


async def test_a_seal_is_taken_back_on_the_same_server(product: InProcess) -> None:
    """Only seals of sealed pools are taken back."""
    await product.meeting("intro")
    await product.meeting("demo")
    await product.stock("intro", "a-1")
    await product.parts.recovery.seal(["intro"])
    assert await product.parts.recovery.unseal(["intro", "demo"]) == ["intro"]
    assert await product.claim("intro", "ann") == ["a-1"]


async def test_where_redis_cannot_forget_nothing_is_set_aside(
    fake_redis: Any, any_url: str
) -> None:
    """An operator who says so keeps the stock over a restart."""
    async with in_process(fake_redis, any_url, redis_forgets=False) as product:
        await product.meeting("intro")
        await product.stock("intro", "a-1")
        await product.redis.restart()
        assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.ADOPTED
        assert await product.pooled("intro") == ["a-1"]
        assert await product.state("a-1") is State.FRESH
        row = await product.ledger.links.get("a-1")
        assert row is not None
        assert row.epoch == (await product.level("intro")).epoch
        await product.redis.bare.flushall()
        await product.store.published.put([await product.meeting("intro", is_open=False)])
        assert (
            await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED
        )


async def test_blocks_are_probed_at_once_after_a_fall(product: InProcess) -> None:
    """Redis may have forgotten that they were lifted."""
    await product.meeting("intro", workspace="default")
    now_ms = await product.store.now_ms()
    block = Block("404", now_ms, now_ms + 60_000)
    await product.store.blocks.put("intro", block)
    await product.store.blocks.put_workspace("default", block)
    await product.redis.restart()
    await product.parts.recovery.recover("intro", grace_seconds=0)
    level, workspace = (
        await product.level("intro"),
        await product.store.blocks.of_workspace("default"),
    )
    assert level.block is not None
    assert workspace is not None
    for each in (level.block, workspace):
        assert each.is_probe_due(await product.store.now_ms(), 60)
        assert each.reason == "404"


async def test_the_busiest_pools_are_recovered_first(product: InProcess) -> None:
    """A Redis that comes back from its file still knows how busy each was."""
    rates = {"idle": 0.0, "busy": 9.0, "stands": 99.0, "slow": 1.0}
    levels = []
    for sid, rate in rates.items():
        await product.meeting(sid, is_open=sid == "stands")
        level = await product.level(sid)
        levels.append(msgspec.structs.replace(level, claims_per_second=rate))
    assert await product.parts.recovery.fallen(levels) == ["busy", "slow", "idle"]


async def test_many_pools_are_recovered_at_once(product: InProcess) -> None:
    """Each by its own result."""
    for sid in ("one", "two", "three"):
        await product.meeting(sid, is_open=False)
    await product.meeting("open")
    results = await product.parts.recovery.recover_all(["one", "two", "open"], grace_seconds=0)
    assert results == {
        "one": Recovered.OPENED, "two": Recovered.OPENED, "open": Recovered.STANDS,
    }  # fmt: skip
    assert (await product.level("three")).fence == "fallen"


async def test_a_ledger_that_is_away_leaves_the_pool_closed(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is handed out before all bindings are back."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann")
    await product.redis.restart()

    async def away(*_arguments: Any, **_options: Any) -> int:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(product.ledger.links, "quarantine_fresh", away)
        with pytest.raises(LedgerUnavailable):
            await product.parts.recovery.recover("intro", grace_seconds=0)
    assert (await product.level("intro")).fence == "fallen"
    assert await product.parts.recovery.recover("intro", grace_seconds=0) is Recovered.QUARANTINED
    assert await product.claim("intro", "ann") == ["a-1"]


@pytest.mark.parametrize(
    ("well", "error", "raises"),
    [
        ([], LedgerUnavailable("away"), True),
        (
            [5],
            LedgerUnavailable("away"),
            False,
        ),  # one that is well in between begins the count anew
        ([], ValueError("odd"), False),
    ],
)
async def test_recovery_gives_up_when_pool_after_pool_finds_a_part_away(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, well: list[int], error: Exception,
    raises: bool,
) -> None:  # fmt: skip
    """One more in a row than are tried at once. Other failures are reported, and stop nothing."""
    recovery, failed = product.parts.recovery, list[str]()
    monkeypatch.setattr("pool.durability.recovery.AT_ONCE", 1)
    asked: list[str] = []

    async def recover(sid: str, seconds: float, *, unseal: bool) -> tuple[Recovered, int]:
        assert (seconds, unseal) == (0.5, False)
        asked.append(sid)
        if int(sid) in well:
            return Recovered.STANDS, 0
        raise error

    monkeypatch.setattr(recovery, "_recover", recover)
    sids = [str(number) for number in range(5)] if not well else [str(n) for n in range(4, 7)]

    async def run() -> dict[str, Recovered]:
        return await recovery.recover_all(
            sids, grace_seconds=0.5, failed=lambda sid, _: failed.append(sid)
        )

    if raises:
        with pytest.raises(LedgerUnavailable):
            await run()
        assert failed == ["0"]
    else:
        expected = [Recovered.STANDS if int(sid) in well else Recovered.FAILED for sid in sids]
        assert list((await run()).values()) == expected
        assert asked == sids
        assert failed == [sid for sid in sids if int(sid) not in well]
