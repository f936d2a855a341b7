"""Test a customer who was given a further link while a booking of theirs stands, or comes to
stand.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.errors import StoreUnavailable
from pool.ledger import EventState
from pool.model.links import State
from pool.model.times import from_ms
from pool.operations.timelines import timelines
from tests.in_process import InProcess
from tests.unit.test_bookings_steps import send

BEGUN = datetime.now(UTC)


async def tell(
    product: InProcess, sid: str, slug: str, status: str = "confirmed", second: int = 0
) -> None:
    """Report a booking of this link as it is at this second, and settle."""
    at = (BEGUN + timedelta(seconds=second)).isoformat()
    name = "booking_cancelled" if status == "cancelled" else "booking_created"
    booking = {"sid": sid, "status": status, "created_at": at, "updated_at": at, "notes": slug}
    await send(product, booking, name)
    while await product.parts.bookings.settle_due():
        pass


async def held(product: InProcess) -> tuple[str, str, str | None]:
    """Return what a claim of the customer answers: the link, its state, and the booking."""
    [slug] = await product.claim("intro", "ann")
    claim = await product.store.claim_of("intro", "ann")
    assert claim is not None
    assert claim.slug == slug
    return slug, claim.state, claim.booking_sid


@pytest.fixture
async def moving(product: InProcess) -> InProcess:
    """Return the product with a customer who booked, whose booking moves, and who reloaded."""
    await product.meeting("intro")
    await product.stock("intro", "link-1", "link-2", "link-3")
    await claim_and_cancel(product)
    return product


async def claim_and_cancel(product: InProcess) -> None:
    assert await product.claim("intro", "ann") == ["link-1"]
    await tell(product, "a", "link-1")
    await tell(product, "a", "link-1", "cancelled", 1)
    assert await product.claim("intro", "ann") == ["link-2"]


async def test_a_booking_that_moved_is_shown_and_not_the_further_link(moving: InProcess) -> None:
    """The old SID's end came first, and the page was reloaded before the new SID was there."""
    await tell(moving, "b", "link-1", second=2)
    assert await held(moving) == ("link-1", "consumed", "b")
    assert await moving.state("link-1") is State.CONSUMED
    assert await moving.state("link-2") is State.RETIRED
    found = await moving.ledger.search.link("link-2")
    assert found is not None
    [timeline] = await timelines(moving.ledger, [found])
    said = [moment.said for moment in timeline.moments]
    assert "Replaced by another link: the customer has booked another of their links" in said
    assert await moving.ledger.links.claim_of("intro", "ann") == await moving.ledger.links.get(
        "link-1"
    )
    # Redis forgets: recovery brings the same back.
    await moving.redis.bare.flushall()
    await moving.meeting("intro")
    assert await held(moving) == ("link-1", "consumed", "b")
    # Cancelled then, it is over.
    await moving.stock("intro", "link-4")
    await tell(moving, "b", "link-1", "cancelled", 3)
    assert await held(moving) == ("link-4", "claimed", None)


async def test_where_a_customer_may_book_again_they_keep_the_further_link(
    product: InProcess,
) -> None:
    """`after_booking` is `new`: a booking that stands is no reason not to hold another link."""
    await product.meeting("intro", after_booking="new")
    await product.stock("intro", "link-1", "link-2")
    await claim_and_cancel(product)
    await tell(product, "b", "link-1", second=2)
    assert await held(product) == ("link-2", "claimed", None)
    await product.parts.recorder.record("intro")
    assert await product.state("link-2") is State.CLAIMED


async def test_a_form_that_is_paid_after_its_link_lapsed_is_shown(product: InProcess) -> None:
    """The customer had claimed anew by then."""
    await product.meeting("intro")
    await product.stock("intro", "link-1", "link-2")
    await product.claim("intro", "ann")
    await tell(product, "a", "link-1", "incomplete")
    await product.parts.recorder.record("intro")
    level = await product.level("intro")
    later = from_ms(level.now_ms) + timedelta(days=9_999)
    assert (await product.ledger.links.lapse(later)).total() == 1
    await product.redis.bare.delete(*await product.redis.bare.keys("*:b:*"))
    assert await product.claim("intro", "ann") == ["link-2"]
    await tell(product, "a", "link-1", second=2)
    assert await held(product) == ("link-1", "consumed", "a")
    assert await product.state("link-2") is State.RETIRED


async def test_of_two_links_that_are_booked_the_one_that_stands_is_shown(
    moving: InProcess,
) -> None:
    """Neither is withdrawn; once the later booking is over, the other is shown again."""
    await tell(moving, "c", "link-2", second=2)
    await tell(moving, "b", "link-1", second=3)
    assert await held(moving) == ("link-2", "consumed", "c")
    await tell(moving, "c", "link-2", "cancelled", 4)
    assert await held(moving) == ("link-1", "consumed", "b")
    assert await moving.pooled("intro") == ["link-3"]


async def test_a_further_link_is_taken_back_also_if_redis_dies_in_between(
    moving: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger retired it; the event is settled again, and Redis follows."""
    mark, failed = moving.store.mark, []

    async def dying(*args: Any, instead_of: str = "") -> bool:
        if instead_of and not failed:
            failed.append(instead_of)
            raise StoreUnavailable("Redis: away", is_outage=True)
        return await mark(*args, instead_of=instead_of)

    monkeypatch.setattr(moving.store, "mark", dying)
    await tell(moving, "b", "link-1", second=2)
    assert failed == ["link-2"]
    assert await held(moving) == ("link-2", "claimed", None)
    [event] = await moving.ledger.inbox.list(EventState.PENDING)
    await moving.parts.bookings.replay(event.id, "a test")
    assert await held(moving) == ("link-1", "consumed", "b")
    assert await moving.state("link-2") is State.RETIRED


async def test_a_further_link_that_is_booked_meanwhile_stays(moving: InProcess) -> None:
    """Redis decides: only a binding that is not booked gives way."""
    booked = await moving.store.claim_of("intro", "ann")
    assert booked is not None
    await tell(moving, "c", "link-2", second=2)
    await moving.store.mark("intro", "link-1", "ann", booked, instead_of="link-2")
    assert await held(moving) == ("link-2", "consumed", "c")
