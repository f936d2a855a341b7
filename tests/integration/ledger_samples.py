"""Make links, claims and times for the tests of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pool.ledger import Ledger, RecordedClaim
from pool.model.bookings import Booking, stands
from pool.model.links import Link, State
from pool.model.marks import Marks

NOW = datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)
TTL = timedelta(days=30)
MARKS = Marks(b"secret key of the tests")


def fresh(slug: str, **fields: Any) -> Link:
    values: dict[str, Any] = {
        "slug": slug,
        "url": f"https://acme.neetocal.com/{slug}",
        "meeting_sid": "intro",
        "state": State.FRESH,
        "source": "pool",
        "epoch": "e1",
        "created_at": NOW,
    }
    return Link(**values | fields)


def claim(slug: str, customer_id: str, **fields: Any) -> RecordedClaim:
    values: dict[str, Any] = {
        "slug": slug,
        "url": f"https://acme.neetocal.com/{slug}",
        "meeting_sid": "intro",
        "customer_id": customer_id,
        "email": None,
        "metadata": None,
        "source": "pool",
        "claimed_at": NOW,
        "lapses_at": NOW + TTL,
    }
    return RecordedClaim(**values | fields)


def booked_as(state: State) -> str:
    """Return the state of the booking that brings a link into this state."""
    return {State.CONSUMED: "confirmed", State.CANCELLED: "cancelled"}[state]


def report(slug: str, state: str = "confirmed", **fields: Any) -> Booking:
    """Return one report of a booking, made at NOW unless `at` says otherwise."""
    made_at = fields.get("made_at", NOW)
    values: dict[str, Any] = {
        "workspace": "default",
        "sid": "bk",
        "slug": slug,
        "state": state,
        "starts_at": None,
        "ends_at": None,
        "time_zone": None,
        "parent_sid": None,
        "manage_url": None,
        "made_at": made_at,
        "changed_at": made_at,
        "heard_at": NOW,
        "stood": state != "incomplete",
        "stood_at": made_at if stands(state) else None,
        "email_key": None,
        "match": "slug",
    }
    return Booking(**values | fields)


async def known(ledger: Ledger, slug: str) -> Link:
    """Return the link, which must be there."""
    link = await ledger.links.get(slug)
    assert link is not None
    return link
