"""Hold linkpool's answers as frozen values. Fields that linkpool adds later are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from linkpool_client.errors import Problem

EmbedType = Literal["inline", "element-click", "floating-popup"]


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of a batch: your own id, and what linkpool is to keep with it."""

    customer_id: str
    email: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """The booking that used a link. `manage_url` is the customer's own page."""

    sid: str
    state: str  # pending or confirmed
    starts_at: datetime | None
    ends_at: datetime | None
    time_zone: str | None
    manage_url: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """One link bound to one customer."""

    meeting_sid: str
    customer_id: str
    slug: str
    url: str
    state: str  # claimed, or consumed while a booking stands
    source: str  # pool, or direct: made on the spot
    claimed_at: datetime
    consumed_at: datetime | None
    booking_sid: str | None
    booking: Booking | None

    @property
    def booked(self) -> bool:
        """Return True while a booking of this link stands."""
        return self.state == "consumed"


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim.

    `reused` is True if the customer held the link already. `embed` is the argument of the
    provider's script. `embed_html` is ready to paste, where the claim asked for it.
    """

    claim: Claim
    reused: bool
    embed: Mapping[str, Any]
    embed_html: str | None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """One customer's result in a batch: a claim, or the problem that stood in its way."""

    customer_id: str
    status: int
    claim: Claim | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token with which a browser claims for one meeting and one customer."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """One entry of a link's history."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link as linkpool's ledger knows it. `all_fields` has what no field here names."""

    slug: str
    url: str
    meeting_sid: str
    state: str
    source: str
    customer_id: str | None
    email: str | None
    metadata: Mapping[str, Any] | None
    created_at: datetime
    claimed_at: datetime | None
    consumed_at: datetime | None
    booking_sid: str | None
    history: tuple[LinkEvent, ...]
    all_fields: Mapping[str, Any]
