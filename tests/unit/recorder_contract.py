"""Test that the recorder brings claims to the ledger in full, and nobody who was erased comes back.

It is imported as `recovery_contract` is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pool.durability.reopening import Recovered
from pool.errors import LedgerUnavailable
from pool.model.links import Link, State
from pool.store import key_names
from pool.store.records import AnsweredClaim, payload
from tests.unit.recovery_stage import NEW, REUSED, SID, Stage, down


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
