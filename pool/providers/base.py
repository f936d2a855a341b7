"""Define what linkpool needs from a scheduling provider.

The rest of `pool` uses these words, whatever words a provider uses. There is one object per
workspace; all of its calls raise `pool.errors.ProviderError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from pool.model.bookings import CONFIRMED

# Called after each request with the operation ("create_link", "meetings", "bookings"), the HTTP
# status or, without an answer, a word ("timeout", "unreachable", "broken", "cancelled"), and the
# seconds it took. It must not raise.
Observe = Callable[[str, int | str, float], None]

EventKind = Literal["booked", "cancelled", "rescheduled", "other"]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A one-off link that the provider has just made, with its form checked."""

    slug: str
    url: str  # always the workspace's link_url, a slash and the slug


@dataclass(frozen=True, slots=True)
class ProviderMeeting:
    """A meeting as the provider lists it. No links can be made for a disabled one."""

    sid: str
    name: str
    disabled: bool
    id: str | None = None  # by which bookings name it, where it is not the SID


@dataclass(frozen=True, slots=True)
class BookingEvent:
    """One booking as a webhook, or an entry of the list of bookings, describes it.

    Every text is safe to store: no control characters, no lone surrogates. What is missing
    or unusable in the payload is None or empty.
    """

    kind: EventKind
    name: str  # the provider's own name of the event
    booking_sid: str | None
    meeting_sid: str | None
    email: str | None
    ref: str | None  # the answer to the workspace's ref_field, if it has a slug's form
    tokens: tuple[str, ...]  # all texts in the payload with a slug's form, in their order
    at: datetime | None  # when it happened by the provider's clock, aware, UTC
    # One of pool/model/bookings.py; a state that is not documented stays as it came.
    state: str = CONFIRMED
    provider_id: str | None = None  # the booking's own id, if it has one beside its SID
    parent_sid: str | None = None  # the booking it belongs to: of its series, or before it moved
    meeting_id: str | None = None  # ProviderMeeting.id
    made_at: datetime | None = None  # when the booking was made, by the provider's clock
    changed_at: datetime | None = None  # when it last changed, by the provider's clock
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    time_zone: str | None = None
    manage_url: str | None = None  # the customer's own page at the provider; http or https
    booker: str | None = field(default=None, repr=False)  # the name of the person who booked

    @property
    def candidates(self) -> list[str]:
        """Return the texts that may be slugs, the answer to the field first."""
        return list(dict.fromkeys([*([self.ref] if self.ref else []), *self.tokens]))


@dataclass(frozen=True, slots=True)
class BookingPage:
    """A page of the provider's list of bookings, those made last first."""

    # Each has a body in the form of a webhook's, so that both can go through one inbox.
    bookings: tuple[tuple[BookingEvent, bytes], ...]
    in_order: bool  # True if the provider kept to the order asked for
    is_last: bool


class Provider(Protocol):
    """One workspace at a provider."""

    @property
    def can_verify(self) -> bool:
        """Return True if a webhook secret is configured; without one no webhook is accepted."""

    @property
    def clock_offset_seconds(self) -> float | None:
        """Return the seconds by which its clock was ahead of ours at its last answer.

        None before the first answer.
        """

    async def create_link(self, meeting_sid: str) -> NewLink:
        """Make one link. The request is never repeated: the provider's call is not idempotent.

        Raise ProviderError; its `maybe_made` is True if a link may exist nevertheless.
        """

    async def meetings(self) -> list[ProviderMeeting]:
        """Return all meetings of the workspace. Raise ProviderError."""

    async def bookings(
        self, page: int, *, cancelled: bool, starts_after: datetime | None = None
    ) -> BookingPage:
        """Return one page of the bookings, counted from 1, with those made last first.

        With `cancelled`, the list is that of the cancelled ones. With `starts_after` (aware),
        earlier ones may be left out. Raise ProviderError.
        """

    def verify(self, body: bytes, signatures: Sequence[str]) -> None:
        """Accept a webhook by the values of its signature headers, or raise BadSignature."""

    def parse_event(self, body: bytes) -> BookingEvent:
        """Read a webhook's body. Raise MalformedJson and nothing else."""

    def redact(self, body: bytes, *, slugs: Sequence[str], rename: Callable[[str], str]) -> bytes:
        """Return what settling needs of a body, and nothing about a person.

        `slugs` are links of ours that it names; `rename` gives a pseudonym for a booking's SID.
        The result is parsed as the whole body was, but without an e-mail. It is empty if the
        body cannot be read.
        """

    async def close(self) -> None:
        """Close all connections. May be called twice."""
