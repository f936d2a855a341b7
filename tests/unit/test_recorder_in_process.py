"""Test that Redis and the operators learn what the ledger knows of a recorded claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pool.ledger.records import RecordedClaim
from pool.model.claims import booked_claim, booked_of
from pool.model.links import Booked, Link, State
from pool.model.times import from_ms, to_ms
from tests.in_process import InProcess
from tests.integration.ledger_samples import report

NOW = datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)


def test_times_go_there_and_back() -> None:
    """Milliseconds since 1970 and aware times say the same."""
    assert to_ms(NOW) == 1_795_327_200_123
    assert from_ms(1_795_327_200_123) == NOW
    assert from_ms(0) == datetime(1970, 1, 1, tzinfo=UTC)


def link(**fields: object) -> Link:
    values: dict[str, object] = {
        "slug": "a-1", "url": "https://a.example/a-1", "meeting_sid": "intro",
        "state": State.CONSUMED, "source": "pool", "epoch": "e", "created_at": NOW,
    }  # fmt: skip
    return Link(**values | fields)  # type: ignore[arg-type]


def test_what_redis_holds_of_a_booked_link() -> None:
    """All that an answer says; of one that is not booked, nothing."""
    hour = timedelta(hours=1)
    claim = booked_claim(
        link(source="direct", claimed_at=NOW + hour, consumed_at=NOW + 2 * hour, booking_sid="b-1"),
        None,
    )
    assert claim is not None
    assert (claim.slug, claim.state, claim.source) == ("a-1", "consumed", "direct")
    assert claim.claimed_at_ms == to_ms(NOW + hour)
    assert claim.consumed_at_ms == to_ms(NOW + 2 * hour)
    assert claim.booking_sid == "b-1"
    bare = booked_claim(link(), None)
    assert bare is not None
    assert (bare.claimed_at_ms, bare.consumed_at_ms, bare.booking_sid) == (to_ms(NOW), None, None)
    for state in set(State) - {State.CONSUMED}:
        assert booked_claim(link(state=state), None) is None


def test_what_redis_holds_of_a_booking() -> None:
    """Redis holds its time, its time zone, and where it is managed; unknown values are left out."""
    hour = timedelta(hours=1)
    whole = report(
        "a-1", "pending", sid="b-1", starts_at=NOW, ends_at=NOW + hour,
        time_zone="Europe/Vienna", manage_url="https://a.example/manage",
    )  # fmt: skip
    claim = booked_claim(link(booking_sid="b-1"), whole)
    assert claim is not None
    assert claim.booked == Booked(
        "b-1", "pending", to_ms(NOW), to_ms(NOW + hour), "Europe/Vienna", "https://a.example/manage"
    )
    assert booked_of(report("a-1", sid="b-2")) == Booked("b-2", "confirmed")
    assert booked_of(None) is None


async def test_one_link_with_two_customers_is_reported_to_people(product: InProcess) -> None:
    """The conflict is counted, and stands in the audit with the slug; the first customer keeps the
    link.
    """
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.ledger.links.record(
        [RecordedClaim("a-1", "u", "intro", "ann", None, None, "pool", NOW, NOW + timedelta(1))]
    )
    assert await product.claim("intro", "ben") == ["a-1"]
    assert await product.parts.recorder.record("intro") == 1
    row = await product.ledger.links.get("a-1")
    assert row is not None
    assert row.customer_id == "ann"
    [entry] = await product.ledger.audit.list()
    assert (entry.actor, entry.action, entry.meeting_sid) == ("recorder", "conflict", "intro")
    assert entry.detail == {"slug": "a-1"}
    assert product.parts.metrics.conflicts._value.get() == 1


async def test_redis_learns_of_a_booking_that_came_first(product: InProcess) -> None:
    """A customer who comes back is answered that they are booked."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.claim("intro", "ann")
    await product.book("a-1", sid="b-1")
    await product.parts.recorder.record("intro")
    held = await product.store.claim_of("intro", "ann")
    assert held is not None
    assert (held.state, held.booking_sid) == ("consumed", "b-1")


async def test_redis_learns_of_a_cancellation_that_came_first(product: InProcess) -> None:
    """The customer may claim anew."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann")
    for state in ("confirmed", "cancelled"):
        await product.book("a-1", state)
    await product.parts.recorder.record("intro")
    assert await product.store.claim_of("intro", "ann") is None
    assert await product.claim("intro", "ann") == ["a-2"]


async def test_an_erased_customer_who_turns_up_again_is_dropped(product: InProcess) -> None:
    """An older file of Redis brought the binding back."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.claim("intro", "ann")
    entries = await product.redis.bare.xrange("lp:{intro}:claims")
    await product.parts.recorder.record("intro")
    await product.parts.erasure.forget("intro", "ann")
    for _, fields in entries:
        await product.redis.bare.xadd("lp:{intro}:claims", fields)
    await product.parts.recorder.record("intro")
    row = await product.ledger.links.get("a-1")
    assert row is not None
    assert row.customer_id is None
    assert await product.store.claim_of("intro", "ann") is None


async def test_a_claim_of_a_meeting_the_ledger_lost_is_recorded(product: InProcess) -> None:
    """The customer of the link counts for more than what the meeting asked for."""
    await product.meeting("intro")
    await product.stock("intro", "a-1")
    await product.claim("intro", "ann")

    async def lost(_sid: str) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product.ledger.meetings, "get", lost)
        assert await product.parts.recorder.record("intro") == 1
    row = await product.ledger.links.get("a-1")
    assert row is not None
    assert (row.customer_id, row.state) == ("ann", State.CLAIMED)
