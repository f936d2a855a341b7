"""The seam between linkpool and a scheduling provider.

Whatever a provider calls its things, these are the words the rest of `pool` hears. One
object per workspace; all of its calls raise errors of `pool.errors.ProviderError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from pool.model.bookings import CONFIRMED

# Called after each request with the operation ("create_link", "meetings", "bookings"),
# the HTTP status or, where there was none, a word ("timeout", "unreachable", "broken",
# "cancelled"), and the seconds it took. It must not raise.
Observe = Callable[[str, int | str, float], None]

EventKind = Literal["booked", "cancelled", "rescheduled", "other"]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A one-off link that the provider has just made, checked for form."""

    slug: str
    url: str  # always the workspace's link_url, a slash and the slug


@dataclass(frozen=True, slots=True)
class ProviderMeeting:
    """A meeting as the provider lists it. A disabled one makes no links."""

    sid: str
    name: str
    disabled: bool
    id: str | None = None  # by which bookings name it, where it is not the SID


@dataclass(frozen=True, slots=True)
class BookingEvent:
    """What a webhook, or an entry of the list of bookings, says about one booking.

    Every text is safe to store: no control characters, no lone surrogates. What is missing
    or unusable in the payload is None or empty.
    """

    kind: EventKind
    name: str  # the provider's own name of the event
    booking_sid: str | None
    meeting_sid: str | None
    email: str | None
    ref: str | None  # the answer to the workspace's ref_field, if it has a slug's form
    tokens: tuple[str, ...]  # what has a slug's form anywhere in the payload, first seen first
    at: datetime | None  # when it happened by the provider's clock, aware, UTC
    state: str = (
        CONFIRMED  # the booking's, as in pool/model/bookings.py; undocumented ones as they came
    )
    provider_id: str | None = None  # the booking's own id, where it has one beside its SID
    parent_sid: str | None = None  # the booking that it belongs to, of a series or rescheduled
    meeting_id: str | None = None  # ProviderMeeting.id
    made_at: datetime | None = None  # when the booking was made, by the provider's clock
    changed_at: datetime | None = None  # when it was changed last, by the provider's clock
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    time_zone: str | None = None
    manage_url: str | None = None  # the customer's own page; http or https


@dataclass(frozen=True, slots=True)
class BookingPage:
    """A page of the provider's list of bookings, those made last first."""

    # Each with a body in the form of a webhook's, so that both can go through one inbox.
    bookings: tuple[tuple[BookingEvent, bytes], ...]
    in_order: bool  # whether the provider kept to the order asked for
    is_last: bool


class Provider(Protocol):
    """One workspace at a provider."""

    @property
    def can_verify(self) -> bool:
        """Whether a webhook secret is configured, without which no webhook is accepted."""

    @property
    def clock_offset_seconds(self) -> float | None:
        """How far its clock was ahead of ours at its last answer, to the second; None before."""

    async def create_link(self, meeting_sid: str) -> NewLink:
        """Make one link. Never repeated by itself: the provider's call is not idempotent.

        Raises ProviderError; its `maybe_made` says whether a link may exist all the same.
        """

    async def meetings(self) -> list[ProviderMeeting]:
        """All meetings of the workspace. Raises ProviderError."""

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """One page, from 1 on, of the bookings, those made last first: all, or the cancelled.

        With `starts_after` (aware) earlier ones may be left out. Raises ProviderError.
        """

    def verify(self, body: bytes, signatures: Sequence[str]) -> None:
        """Accept a webhook by the values of its signature headers, or raise BadSignature."""

    def parse_event(self, body: bytes) -> BookingEvent:
        """Read a webhook's body. Raises MalformedJson and nothing else."""

    def redact(self, body: bytes, *, slugs: Sequence[str], rename: Callable[[str], str]) -> bytes:
        """Return what settling needs of a body, and nothing that tells of a person.

        `slugs` are links of ours that it names; `rename` gives a pseudonym for a booking's SID.
        Reads as the whole body did, but for the e-mail. Empty if the body cannot be read.
        """

    async def close(self) -> None:
        """Close all connections; may be called twice."""
