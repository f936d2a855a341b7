"""Merge the reports of a booking, and derive a link's state from its bookings.

The result does not depend on the order or number of the reports: a booking keeps the report
that is latest by the provider's own times, and a link's state follows from its set of bookings.

| state | stands | why |
|---|---|---|
| `incomplete` | no | the form was filled, the payment not finished: it holds no slot |
| `pending` | yes | it awaits approval, and the provider has closed the link |
| `confirmed` | yes | |
| any undocumented state | yes | kept as received; a second link would be the worse mistake |
| `rejected`, `cancelled` | no | the provider closed the link, so the customer needs another |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from pool.model.links import Link, State, may_move

_T = TypeVar("_T", str, datetime)

INCOMPLETE, PENDING, CONFIRMED = "incomplete", "pending", "confirmed"
CANCELLED, REJECTED = "cancelled", "rejected"

# Of reports with equal times the higher rank wins: the end of a booking above all others.
_RANKS = {INCOMPLETE: 0, PENDING: 1, CONFIRMED: 3, REJECTED: 4, CANCELLED: 5}
_UNDOCUMENTED_RANK = 2
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
# The change time of a booking that a migration created from its link: any report is later.
CARRIED = datetime(1970, 1, 1, tzinfo=UTC)
# The ways to match a booking, the most reliable first.
_SUREST_FIRST = ("field", "slug", "assigned", "booking", "probable")


@dataclass(frozen=True, slots=True)
class Booking:
    """One booking at the provider, and the link that it was first matched to.

    A single report of a booking has the same form, so `merged` can combine them. Times are
    aware, in UTC, and whole milliseconds.
    """

    workspace: str
    sid: str  # the provider's, or `unnamed_sid` where an event had none
    slug: str
    state: str
    starts_at: datetime | None
    ends_at: datetime | None
    time_zone: str | None
    parent_sid: str | None
    manage_url: str | None  # the customer's own page at the provider
    made_at: datetime | None  # by the provider's clock
    changed_at: datetime | None  # by the provider's clock
    heard_at: datetime  # when the first report arrived, by our clock
    stood: bool  # True once it held the link; all but incomplete bookings do
    stood_at: datetime | None  # since when; None without a report of it standing
    email_key: str | None  # a keyed hash
    match: str | None
    provider_id: str | None = None  # by which its children may name it


def stands(state: str) -> bool:
    """Return True if a booking of this state holds its link."""
    return state not in (INCOMPLETE, CANCELLED, REJECTED)


def is_documented(state: str) -> bool:
    """Return True if the provider documents this state, so that its meaning is known."""
    return state in _RANKS


def unnamed_sid(slug: str) -> str:
    """Return the name for a link's booking whose events have no SID."""
    return f"unnamed:{slug}"


def named_sid(sid: str) -> str | None:
    """Return the provider's SID of a booking, None if it gave none."""
    return None if sid.startswith("unnamed:") else sid


def merged(one: Booking, other: Booking) -> Booking:
    """Return two reports of one booking merged into one; `slug` is that of the first.

    Apart from `slug` the order does not matter, and merging a report again changes nothing.
    """
    last = max(one, other, key=_order)
    return replace(
        last,
        slug=one.slug,
        parent_sid=_least(one.parent_sid, other.parent_sid),
        heard_at=min(one.heard_at, other.heard_at),
        stood=one.stood or other.stood,
        stood_at=_least(one.stood_at, other.stood_at),
        email_key=_least(one.email_key, other.email_key),
        match=_surest((one.match, other.match)),
        provider_id=_least(one.provider_id, other.provider_id),
    )


def settled(link: Link, bookings: Sequence[Booking]) -> Link:
    """Return the link in the state that follows from all its bookings.

    It is consumed while any booking stands, cancelled if one stood and none does, and
    unchanged otherwise.
    """
    stood = [booking for booking in bookings if booking.stood]
    if not stood:
        return link
    standing = [booking for booking in stood if stands(booking.state)]
    state = State.CONSUMED if standing else State.CANCELLED
    foremost = min(standing or stood, key=_foremost)
    return replace(
        link,
        state=state if may_move(link.state, state) else link.state,
        consumed_at=min((each.stood_at for each in stood if each.stood_at), default=None),
        cancelled_at=None if standing else max(_ended_at(each) for each in stood),
        booking_sid=named_sid(foremost.sid),
        match=_surest(each.match for each in stood),
    )


def _order(report: Booking) -> tuple[object, ...]:
    """Return the sort key of one booking's reports. Only identical reports have equal keys.

    A report that ends the booking and does not say when sorts last, so it is believed. Any other
    that does not say when is as old as the booking, and sorts first if that is not known either.
    """
    ends = report.state in (CANCELLED, REJECTED)
    return (
        report.changed_at or (_LAST if ends else report.made_at or _FIRST),
        report.made_at or _FIRST,
        _RANKS.get(report.state, _UNDOCUMENTED_RANK),
        report.state,
        report.starts_at or _FIRST,
        report.ends_at or _FIRST,
        report.time_zone or "",
        report.manage_url or "",
    )


def _foremost(booking: Booking) -> tuple[object, ...]:
    """Return the sort key by which the earliest booking of a link is shown."""
    return (booking.starts_at or _LAST, booking.made_at or _LAST, booking.sid)


def _ended_at(booking: Booking) -> datetime:
    changed = None if booking.changed_at == CARRIED else booking.changed_at
    return changed or booking.made_at or booking.heard_at


def _least(one: _T | None, other: _T | None) -> _T | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _surest(matches: Iterable[str | None]) -> str | None:
    def doubt(match: str) -> tuple[int, str]:
        known = match in _SUREST_FIRST
        return (_SUREST_FIRST.index(match) if known else len(_SUREST_FIRST), match)

    return min((match for match in matches if match), key=doubt, default=None)
