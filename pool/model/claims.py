"""Turn a link and its booking, as the ledger knows them, into the claim that Redis holds."""

from __future__ import annotations

from pool.model.bookings import Booking
from pool.model.links import Booked, Claim, Link, Source, State
from pool.model.times import to_ms


def claim_in_state(
    slug: str,
    state: State,
    source: Source,
    claimed_at_ms: int,
    consumed_at_ms: int | None,
    booking_sid: str | None,
    booked: Booked | None,
) -> Claim:
    """Return the claim of a link in this state; any state but consumed counts as claimed."""
    return Claim(
        slug,
        "consumed" if state is State.CONSUMED else "claimed",
        source,
        claimed_at_ms,
        consumed_at_ms,
        booking_sid,
        booked,
    )


def claim_of_link(link: Link, booking: Booking | None) -> Claim:
    """Return the claim that Redis should hold of a claimed or consumed link.

    `booking` is the one that the link names.
    """
    return claim_in_state(
        link.slug,
        link.state,
        link.source,
        to_ms(link.claimed_at or link.created_at),
        to_ms(link.consumed_at) if link.consumed_at else None,
        link.booking_sid,
        booked_of(booking),
    )


def booked_claim(link: Link, booking: Booking | None) -> Claim | None:
    """Return the claim of a consumed link, and None if the link is in any other state."""
    return claim_of_link(link, booking) if link.state is State.CONSUMED else None


def booked_of(booking: Booking | None) -> Booked | None:
    """Return what Redis and a claim's answer hold of a booking, and None for None."""
    if booking is None:
        return None
    return Booked(
        booking.sid,
        booking.state,
        to_ms(booking.starts_at) if booking.starts_at else None,
        to_ms(booking.ends_at) if booking.ends_at else None,
        booking.time_zone,
        booking.manage_url,
    )
