"""Define meetings, links, bookings, and the error of a refused request."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

RECENT_SLUGS = 200  # per meeting, to repeat one of them

# Statuses of a booking. NeetoCal documents only cancelled and incomplete; `set_status` writes any
# other text, as the provider may do one day.
CONFIRMED = "confirmed"
PENDING = "pending"  # waits for the host's approval; the link is closed
REJECTED = "rejected"  # the host said no
CANCELLED = "cancelled"
INCOMPLETE = "incomplete"  # the form was filled, the payment was not finished; holds no slot
NOT_STANDING = frozenset({REJECTED, CANCELLED, INCOMPLETE})

MeetingKind = Literal["plain", "series", "approval", "payment"]
RescheduleStyle = Literal["same_sid", "new_sid", "new_sid_cancelled_first"]


class Refused(Exception):
    """The request cannot be fulfilled; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Meeting:
    """A scheduling link that makes one-off links."""

    sid: str
    name: str
    recent_slugs: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_SLUGS))


@dataclass(slots=True)
class Link:
    """A one-off link: unused until a booking closes it, then expired for good."""

    slug: str
    meeting_sid: str
    made_at: str
    booking_sid: str | None = None  # of the booking that closed it


class Form(TypedDict):
    """The fields that a visitor fills in to book."""

    name: str
    email: str
    starts_at: str
    answers: dict[str, str]
    time_zone: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Booking:
    """A booking; `slug` is None for one made without a one-off link. Times are ISO 8601, UTC."""

    number: int
    sid: str
    meeting_sid: str
    slug: str | None
    name: str
    email: str
    starts_at: str
    created_at: str
    updated_at: str
    status: str = CONFIRMED
    cancel_reason: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    parent_sid: str | None = None  # the first booking of the series this one belongs to
    cancelled_by: str | None = None
    reschedule_requested: bool = False
    closes_link: bool = True

    @property
    def stands(self) -> bool:
        """Return True if it holds its slot. An unknown status counts as standing."""
        return self.status not in NOT_STANDING


def meeting_id(sid: str) -> str:
    """Return the `id` of a meeting: a UUID, the same in every run, and not its SID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox/meetings/{sid}"))


def booking_id(sid: str) -> str:
    """Return the `id` of a booking: a UUID, the same in every run, and not its SID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox/bookings/{sid}"))
