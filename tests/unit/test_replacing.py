"""Replace a link that the provider burnt: one customer, one live link, whichever process dies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from pool.claims.replacing import Replacement, Replacer
from pool.errors import (
    Fenced,
    LedgerUnavailable,
    NotReplaceable,
    PoolEmpty,
    PoolPaused,
    UnknownClaim,
)
from pool.ledger.records import AuditEntry
from pool.model.bookings import Booking
from pool.model.links import Claim, State
from pool.operations.timelines import timelines
from pool.store import key_names
from pool.store.records import payload
from tests.in_process import InProcess
from tests.scripted_provider import MEETING_REFUSED

WHY = "It says that it has expired"


async def replace(
    product: InProcess, customer: str = "ann", *, slug: str | None = None, reason: str = WHY
) -> Replacement:
    """Replace a link as an operator does."""
    meeting = await product.ledger.meetings.get("intro")
    assert meeting is not None
    replacer = Replacer(
        product.store, product.ledger, product.parts.recorder, product.parts.makers,
        timeout_seconds=1.0,
    )  # fmt: skip
    return await replacer.replace(meeting, customer, reason, "a test", slug=slug)


async def held(product: InProcess, customer: str = "ann") -> str | None:
    claim = await product.store.claim_of("intro", customer)
    return claim.slug if claim else None


async def recovered(product: InProcess) -> None:
    """Lose all that Redis had, and recover from what the ledger knows."""
    await product.redis.bare.flushall()
    await product.redis.restart()
    await product.parts.recovery.recover("intro", grace_seconds=0.0)


@pytest.fixture
async def claimed(product: InProcess) -> InProcess:
    """Return a pool in which ann holds burnt-1 and two more links are fresh."""
    await product.meeting("intro")
    await product.stock("intro", "burnt-1", "fresh-1", "fresh-2")
    name = product.store.names.name("intro", "ann")
    document = payload("ann", "ann@example.com", {"order": 7})
    await product.store.claim("intro", [(name, document)])
    return product


async def test_the_customer_gets_the_oldest_fresh_link(claimed: InProcess) -> None:
    """Later claims get it, too; the pool has one less, and the old link is retired."""
    replacement = await replace(claimed)
    assert replacement.is_new
    assert replacement.claim.slug == "fresh-1"
    assert replacement.claim.source == "pool"
    assert await claimed.claim("intro", "ann") == ["fresh-1"]
    assert await claimed.pooled("intro") == ["fresh-2"]
    assert await claimed.state("burnt-1") is State.RETIRED
    assert await claimed.state("fresh-1") is State.CLAIMED


async def test_the_new_claim_keeps_what_the_old_one_was_given(claimed: InProcess) -> None:
    """E-mail and metadata: a booking must find its link."""
    await replace(claimed)
    link = await claimed.ledger.links.get("fresh-1")
    assert link is not None
    assert (link.customer_id, link.email, link.metadata) == ("ann", "ann@example.com", {"order": 7})
    assert (await claimed.ledger.links.claim_of("intro", "ann")) == link


async def test_the_reason_stands_in_the_old_links_history(claimed: InProcess) -> None:
    """The audit log has the reason and the actor."""
    await replace(claimed)
    found = await claimed.ledger.search.link("burnt-1")
    assert found is not None
    assert found.replaced is not None
    assert found.replaced[1] == WHY
    [timeline] = await timelines(claimed.ledger, [found])
    assert f"Replaced by another link: {WHY}" in [moment.said for moment in timeline.moments]
    acts: list[AuditEntry] = await claimed.ledger.audit.list(10, "intro")
    assert [(act.actor, act.reason, act.detail) for act in acts if act.action == "replace"] == [
        ("a test", WHY, {"slug": "burnt-1", "by": "fresh-1"})
    ]


async def test_recovery_brings_the_new_link_back_and_not_the_old(claimed: InProcess) -> None:
    """The customer is bound to the new link alone."""
    await replace(claimed)
    await recovered(claimed)
    assert await held(claimed) == "fresh-1"


async def test_an_entry_that_is_recorded_late_ends_the_old_link(
    claimed: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API process died right behind the script: the stream has all that is needed."""
    await claimed.parts.recorder.record("intro")
    name = claimed.store.names.name("intro", "ann")
    await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)
    assert await claimed.state("burnt-1") is State.CLAIMED
    await claimed.redis.restart()
    await claimed.parts.recovery.recover("intro", grace_seconds=0.0)
    assert await held(claimed) == "fresh-1"
    assert await claimed.state("burnt-1") is State.RETIRED


async def test_a_recorder_that_dies_between_both_does_it_again(
    claimed: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry leaves the stream only once the ledger has the new claim and the end of the old."""
    await claimed.parts.recorder.record("intro")
    name = claimed.store.names.name("intro", "ann")
    await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)

    async def away(*_: Any, **__: Any) -> bool:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(claimed.ledger.links, "replaced", away)
        with pytest.raises(LedgerUnavailable):
            await claimed.parts.recorder.record("intro")
    assert (await claimed.level("intro")).backlog == 1
    await claimed.parts.recorder.record("intro")
    assert await claimed.state("burnt-1") is State.RETIRED
    assert (await claimed.level("intro")).backlog == 0


async def test_the_old_claim_is_not_brought_back_by_who_asserts_it_again(
    claimed: InProcess,
) -> None:
    """An API process that answered it lately does so when a fence falls."""
    old = await claimed.store.claim_of("intro", "ann")
    assert old is not None
    await asyncio.sleep(0.002)  # the new one is claimed later, by Redis's clock
    await replace(claimed)
    await recovered(claimed)
    from pool.store.records import AnsweredClaim

    await claimed.store.assert_again("intro", [AnsweredClaim("ann", old, 60_000, payload("ann"))])
    await claimed.parts.recorder.record("intro")
    assert await held(claimed) == "fresh-1"
    assert await claimed.state("burnt-1") is State.RETIRED


async def test_two_who_replace_at_once_replace_once(claimed: InProcess) -> None:
    """Both are answered with the same link."""
    both = await asyncio.gather(replace(claimed, slug="burnt-1"), replace(claimed, slug="burnt-1"))
    assert {each.claim.slug for each in both} == {"fresh-1"}
    assert await claimed.pooled("intro") == ["fresh-2"]


async def test_a_call_that_names_the_old_link_may_be_repeated(claimed: InProcess) -> None:
    """After a lost answer nothing is replaced twice."""
    await replace(claimed, slug="burnt-1")
    again = await replace(claimed, slug="burnt-1")
    assert not again.is_new
    assert again.claim.slug == "fresh-1"
    assert await claimed.pooled("intro") == ["fresh-2"]


async def test_the_script_may_be_run_twice(claimed: InProcess) -> None:
    """After a lost reply it returns the link that the customer holds."""
    name = claimed.store.names.name("intro", "ann")
    first = await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)
    second = await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)
    assert first.claim == second.claim
    assert await claimed.pooled("intro") == ["fresh-2"]


async def test_a_booked_link_is_not_replaced(claimed: InProcess) -> None:
    """Another one would be a second booking."""
    booked = Claim("burnt-1", "consumed", "pool", 1, 2, "booking-1")
    await claimed.store.mark("intro", "burnt-1", "ann", booked)
    with pytest.raises(NotReplaceable):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"
    assert await claimed.pooled("intro") == ["fresh-1", "fresh-2"]


async def test_who_holds_nothing_gets_nothing(claimed: InProcess) -> None:
    """Such a customer needs a claim."""
    with pytest.raises(UnknownClaim):
        await replace(claimed, "ben")
    assert await claimed.pooled("intro") == ["fresh-1", "fresh-2"]


async def test_a_paused_meeting_replaces_nothing(claimed: InProcess) -> None:
    """Its links may be the fault."""
    await claimed.meeting("intro", paused=True, is_open=False)
    with pytest.raises(PoolPaused):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"


async def test_a_fallen_fence_replaces_nothing(claimed: InProcess) -> None:
    """Nothing is replaced from the pool or with a link made on demand."""
    await claimed.parts.recorder.record("intro")
    await claimed.redis.restart()
    with pytest.raises(Fenced):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"
    assert claimed.provider.made == []


async def test_without_the_ledger_nothing_is_replaced(
    claimed: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old claim might come to it after its end."""

    async def away(_sid: str) -> int:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(claimed.parts.recorder, "record", away)
    with pytest.raises(LedgerUnavailable):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"


async def empty_pool(product: InProcess) -> None:
    await product.parts.recorder.record("intro")
    await product.store.stock.take_out("intro", up_to_ms=None)


async def test_an_empty_pool_has_one_made_on_the_spot(claimed: InProcess) -> None:
    """Its row comes first, as for every link."""
    await empty_pool(claimed)
    replacement = await replace(claimed)
    [made] = claimed.provider.made
    assert (replacement.claim.slug, replacement.claim.source) == (made.slug, "direct")
    assert await held(claimed) == made.slug
    assert await claimed.state(made.slug) is State.CLAIMED
    assert await claimed.state("burnt-1") is State.RETIRED
    assert await claimed.pooled("intro") == []


async def test_a_link_that_the_provider_repeats_replaces_nothing(claimed: InProcess) -> None:
    """The repeated link is another customer's."""
    await claimed.claim("intro", "ben")
    await empty_pool(claimed)
    claimed.provider.will("intro", "fresh-1")
    with pytest.raises(PoolEmpty, match="repeated"):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"
    assert await held(claimed, "ben") == "fresh-1"


async def test_an_empty_pool_whose_provider_refuses_says_so(claimed: InProcess) -> None:
    """The customer keeps the old link."""
    await empty_pool(claimed)
    claimed.provider.always(MEETING_REFUSED)
    with pytest.raises(PoolEmpty, match="no link"):
        await replace(claimed)
    assert await held(claimed) == "burnt-1"


async def test_a_link_made_for_who_was_served_meanwhile_is_set_aside(claimed: InProcess) -> None:
    """Another operator was quicker; nobody has seen this one, but it is of no pool."""
    await empty_pool(claimed)

    async def quicker() -> None:
        await claimed.stock("intro", "fresh-3")
        name = claimed.store.names.name("intro", "ann")
        await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)

    claimed.provider.will("intro", quicker)
    replacement = await replace(claimed)
    assert not replacement.is_new
    assert replacement.claim.slug == "fresh-3"
    assert await claimed.state(claimed.provider.made[0].slug) is State.QUARANTINED


async def test_a_booking_of_the_old_link_that_turns_up_late_is_the_truth(
    claimed: InProcess,
) -> None:
    """It was not burnt, then; the ledger says so."""
    await replace(claimed)
    at = datetime.now(UTC)
    report = Booking(
        "default", "b-1", "burnt-1", "confirmed", None, None, None, None, None, at, at, at,
        stood=True, stood_at=at, email_key=None, match="slug",
    )  # fmt: skip
    settled = await claimed.ledger.bookings.settle(report)
    assert settled.link.state is State.CONSUMED
    assert await held(claimed) == "fresh-1"


async def test_the_entry_names_the_old_link(claimed: InProcess) -> None:
    """lua/stream.lua has its form."""
    await claimed.parts.recorder.record("intro")
    name = claimed.store.names.name("intro", "ann")
    await claimed.store.replace("intro", name, "burnt-1", payload("ann"), WHY)
    [claim] = await claimed.store.stream.unrecorded("intro", 10)
    assert (claim.slug, claim.replaces, claim.reason) == ("fresh-1", "burnt-1", WHY)
    assert await claimed.redis.bare.xlen(key_names.claims("intro")) == 1
