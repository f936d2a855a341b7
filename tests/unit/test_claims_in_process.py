"""Test claims from the desk to the pool: the answer in each state of the meeting."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.durability.recent_claims import RecentClaims
from pool.errors import Fenced, PoolEmpty, PoolPaused, RateLimited, UnknownMeeting
from pool.model.links import Claim, State
from pool.model.meetings import Meeting
from tests.in_process import InProcess
from tests.scripted_provider import FAILED


@dataclass
class Heard:
    """A listener that keeps all events."""

    outcomes: Counter[str] = field(default_factory=Counter)
    to_record: list[str] = field(default_factory=list)
    low_pools: list[str] = field(default_factory=list)
    fences: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def claimed(self, meeting: Meeting) -> None:
        self.to_record.append(meeting.sid)

    def low(self, meeting: Meeting) -> None:
        self.low_pools.append(meeting.sid)

    def fenced(self, sid: str) -> None:
        self.fences.append(sid)

    def batch(self, size: int) -> None:
        self.batches.append(size)

    def outcome(self, sid: str, outcome: str, count: int) -> None:
        self.outcomes[outcome] += count


@dataclass
class Front:
    """A desk, and the parts around it."""

    product: InProcess
    desk: Desk
    recent_claims: RecentClaims
    heard: Heard

    async def claim(self, who: str, sid: str = "intro", **options: Any) -> tuple[str, str]:
        receipt = await self.desk.claim(sid, who, **options)
        return receipt.outcome, receipt.claim.slug

    async def book(self, slug: str, who: str) -> None:
        """Mark a claimed link as booked by its customer."""
        held = await self.product.store.claim_of("intro", who)
        assert held is not None
        at_ms = held.claimed_at_ms
        booked = Claim(slug, "consumed", "pool", at_ms, at_ms + 1, "b-1")
        await self.product.store.mark("intro", slug, who, booked)


@pytest.fixture
async def counter(product: InProcess) -> AsyncIterator[Front]:
    recent_claims, heard = RecentClaims(), Heard()
    known_meetings = KnownMeetings(product.store, product.ledger)
    desk = Desk(
        product.store, known_meetings, recent_claims, product.on_demand(), heard, timeout_seconds=5
    )
    yield Front(product, desk, recent_claims, heard)
    await desk.close()


async def test_the_oldest_link_goes_first_and_stays_the_customers(counter: Front) -> None:
    """A second claim gives the same link, and takes none from the pool."""
    await counter.product.meeting("intro")
    await counter.product.stock("intro", "a-1", "a-2")
    assert await counter.claim("ann") == ("new", "a-1")
    assert await counter.claim("ann") == ("reused", "a-1")
    assert await counter.claim("ben") == ("new", "a-2")
    assert counter.heard.outcomes == {"new": 2, "reused": 1}
    assert counter.heard.to_record == ["intro", "intro"]
    assert counter.recent_claims.lately("intro")[0].claim.slug == "a-1"


async def test_a_paused_meeting_gives_its_customers_their_links_and_nobody_a_new_one(
    counter: Front,
) -> None:
    """Others get none from the pool and none on demand."""
    await counter.product.meeting("intro")
    await counter.product.stock("intro", "a-1", "a-2")
    assert await counter.claim("ann") == ("new", "a-1")
    await counter.product.meeting("intro", paused=True, pause_reason="holiday")
    assert await counter.claim("ann") == ("reused", "a-1")
    with pytest.raises(PoolPaused) as caught:
        await counter.claim("ben")
    assert caught.value.retry_after_seconds == 30
    assert await counter.product.pooled("intro") == ["a-2"]
    await counter.product.store.stock.take_out("intro", up_to_ms=None)
    with pytest.raises(PoolPaused):
        await counter.claim("ben")
    assert counter.product.provider.asked == []
    assert counter.heard.outcomes["paused"] == 2


async def test_an_empty_pool_makes_a_link_on_the_spot(counter: Front) -> None:
    """It is remembered, recorded, and the customer's from then on."""
    await counter.product.meeting("intro")
    outcome, slug = await counter.claim("ann", email="ann@b.example")
    assert outcome == "direct"
    assert await counter.claim("ann") == ("reused", slug)
    assert counter.heard.outcomes == {"direct": 1, "reused": 1}
    assert counter.heard.to_record == ["intro"]
    assert counter.recent_claims.lately("intro")[0].claim.slug == slug
    await counter.product.parts.recorder.record("intro")
    row = await counter.product.ledger.links.get(slug)
    assert row is not None
    assert (row.state, row.email, row.source) == (State.CLAIMED, "ann@b.example", "direct")


async def test_a_link_that_cannot_be_made_is_an_empty_pool(counter: Front) -> None:
    """It is counted as empty, and has the fallback address."""
    await counter.product.meeting("intro", fallback_url="https://a.example/x")
    counter.product.provider.always(FAILED)
    with pytest.raises(PoolEmpty) as caught:
        await counter.claim("ann")
    assert caught.value.fallback_url == "https://a.example/x"
    assert counter.heard.outcomes == {"empty": 1}
    assert counter.heard.to_record == []


async def test_behind_a_fallen_fence_nobody_gets_a_link(counter: Front) -> None:
    """Not even a held link is given: Redis may have forgotten it, and it may be another
    customer's.
    """
    await counter.product.meeting("intro")
    await counter.product.stock("intro", "a-1", "a-2")
    await counter.claim("ann")
    await counter.product.redis.restart()
    for who in ("ann", "ben"):
        with pytest.raises(Fenced):
            await counter.claim(who)
    assert counter.heard.outcomes["recovering"] == 2
    assert counter.heard.fences == ["intro", "intro"]
    assert counter.product.provider.asked == []


async def test_a_limited_caller_gets_no_new_link(counter: Front) -> None:
    """They get none on demand either; customers who hold a link get it."""
    await counter.product.meeting("intro")
    await counter.product.stock("intro", "a-1", "a-2")
    await counter.claim("ann")
    assert await counter.claim("ann", limited=True) == ("reused", "a-1")
    with pytest.raises(RateLimited) as caught:
        await counter.claim("ben", limited=True)
    assert caught.value.retry_after_seconds == 10
    assert await counter.product.pooled("intro") == ["a-2"]


async def test_a_pool_below_its_target_is_reported(counter: Front) -> None:
    """The low level is reported once the target is known; a full pool is not reported."""
    await counter.product.meeting("intro", min_fresh=3, max_fresh=3)
    await counter.product.top_up()
    await counter.claim("ann")
    assert counter.heard.low_pools == ["intro"]


async def test_after_a_cancellation_the_next_link_is_another(counter: Front) -> None:
    """Before that, after the booking, it is the same one with the state consumed."""
    await counter.product.meeting("intro")
    await counter.product.stock("intro", "a-1", "a-2")
    await counter.claim("ann")
    await counter.book("a-1", "ann")
    receipt = await counter.desk.claim("intro", "ann")
    assert (receipt.claim.slug, receipt.claim.state) == ("a-1", "consumed")
    await counter.product.store.mark("intro", "a-1", "ann", None)
    assert await counter.claim("ann") == ("new", "a-2")


async def test_a_new_link_after_each_booking_where_the_meeting_says_so(
    counter: Front,
) -> None:
    """The meeting has `after_booking: new`."""
    await counter.product.meeting("intro", after_booking="new")
    await counter.product.stock("intro", "a-1", "a-2")
    await counter.claim("ann")
    await counter.book("a-1", "ann")
    assert await counter.claim("ann") == ("new", "a-2")


async def test_a_meeting_that_nobody_made_is_unknown(counter: Front) -> None:
    """The provider is not asked."""
    with pytest.raises(UnknownMeeting):
        await counter.claim("ann", "nowhere")
    assert counter.product.provider.asked == []
