"""Define links, the states they move through, and the claims of customers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from pool.errors import InvalidCustomerId

SID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
SLUG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$"
SUBDOMAIN_PATTERN = r"^[a-z0-9-]{1,63}$"

_sid = re.compile(SID_PATTERN)
_slug = re.compile(SLUG_PATTERN)
# C0 and C1 controls, DEL, and lone surrogates, which UTF-8 cannot carry.
_unspeakable = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

CUSTOMER_ID_MAX_CHARACTERS = 256

Source = Literal["pool", "direct"]


class State(StrEnum):
    """A link's state. Each comment says who moves a link there and how long it stays."""

    FRESH = "fresh"  # top-up made it; stays until claimed, too old, or the fence falls
    RETIRED = "retired"  # expire or drain took it out of the pool; final unless it was shown
    QUARANTINED = "quarantined"  # the fence fell: it may have been shown; never handed out
    CLAIMED = "claimed"  # bound to a customer; stays until booked or claim_ttl ends
    LAPSED = "lapsed"  # claim_ttl ended without a booking; final unless one turns up
    CONSUMED = "consumed"  # one of its bookings stands; stays until none does
    CANCELLED = "cancelled"  # it had bookings, none stands now; stays until one does again


# Links only move right. A late claim or booking is the truth about a link that was
# thought retired, quarantined or lapsed. Links move both ways only between consumed and
# cancelled: those two follow from the link's set of bookings.
_MOVES: dict[State, frozenset[State]] = {
    State.FRESH: frozenset(
        {State.RETIRED, State.QUARANTINED, State.CLAIMED, State.CONSUMED, State.CANCELLED}
    ),
    State.RETIRED: frozenset({State.CLAIMED, State.CONSUMED, State.CANCELLED}),
    State.QUARANTINED: frozenset({State.CLAIMED, State.CONSUMED, State.CANCELLED}),
    State.CLAIMED: frozenset({State.LAPSED, State.CONSUMED, State.CANCELLED}),
    State.LAPSED: frozenset({State.CONSUMED, State.CANCELLED}),
    State.CONSUMED: frozenset({State.CANCELLED}),
    State.CANCELLED: frozenset({State.CONSUMED}),
}


def may_move(old: State, new: State) -> bool:
    """Return True if a link in state `old` may be moved to `new`."""
    return new in _MOVES[old]


def states_before(new: State) -> tuple[State, ...]:
    """Return the states from which a link may be moved to `new`."""
    return tuple(old for old, targets in _MOVES.items() if new in targets)


def is_sid(text: str) -> bool:
    """Return True if `text` has the form of a meeting's SID."""
    return _sid.match(text) is not None and not text.endswith("\n")


def is_slug(text: str) -> bool:
    """Return True if `text` has the form of a one-off link's slug."""
    return _slug.match(text) is not None and not text.endswith("\n")


def check_customer_id(customer_id: str) -> str:
    """Return the id unchanged if it is 1 to 256 characters without control characters.

    Raise InvalidCustomerId otherwise.
    """
    if not customer_id:
        raise InvalidCustomerId(
            "customer_id is empty; send the visitor's own id, 1 to 256 characters"
        )
    if len(customer_id) > CUSTOMER_ID_MAX_CHARACTERS:
        raise InvalidCustomerId(
            f"customer_id has {len(customer_id)} characters; at most "
            f"{CUSTOMER_ID_MAX_CHARACTERS} are allowed"
        )
    if _unspeakable.search(customer_id):
        raise InvalidCustomerId("customer_id contains control characters; remove them")
    return customer_id


class Booked(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The booking within the answer to a claim. Times are milliseconds since 1970 UTC."""

    sid: str
    state: str
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    time_zone: str | None = None
    manage_url: str | None = None


class Claim(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The binding of one link to one customer, as Redis knows it.

    Times are milliseconds since 1970 UTC by Redis's clock.
    """

    slug: str
    state: Literal["claimed", "consumed"]
    source: Source
    claimed_at_ms: int
    consumed_at_ms: int | None = None
    booking_sid: str | None = None
    booked: Booked | None = None  # what is known about that booking


@dataclass(frozen=True, slots=True)
class Link:
    """One one-off link, as the ledger knows it. Times are aware, in UTC."""

    slug: str
    url: str
    meeting_sid: str
    state: State
    source: Source
    epoch: str
    created_at: datetime
    customer_id: str | None = None
    email: str | None = None
    metadata: dict[str, object] | None = None
    claimed_at: datetime | None = None
    lapses_at: datetime | None = None
    consumed_at: datetime | None = None
    cancelled_at: datetime | None = None
    booking_sid: str | None = None
    match: str | None = None  # how the booking was matched: field, slug, probable, assigned
