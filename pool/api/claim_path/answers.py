"""Write the bodies of answers about claims and links, from value objects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from pool.claims.queue import Receipt
from pool.config.settings import Workspace
from pool.embeds import Options, arguments, html
from pool.model.bookings import CARRIED, Booking, named_sid
from pool.model.links import Booked, Claim, Link, Source, State
from pool.model.times import to_ms


class BookingBody(msgspec.Struct, frozen=True):
    """A booking as callers see it; `manage_url` is the customer's own page at the provider."""

    sid: str
    state: str
    starts_at: str | None
    ends_at: str | None
    time_zone: str | None
    manage_url: str | None


class ClaimBody(msgspec.Struct, frozen=True):
    """A claim as callers see it. Times are RFC 3339 in UTC."""

    meeting_sid: str
    customer_id: str
    slug: str
    url: str
    state: Literal["claimed", "consumed"]
    source: Source
    claimed_at: str
    consumed_at: str | None
    booking_sid: str | None
    booking: BookingBody | msgspec.UnsetType = msgspec.UNSET  # set once the booking is known


class _PlainAnswer(msgspec.Struct, frozen=True):
    claim: ClaimBody
    reused: bool
    embed: dict[str, Any]


class ClaimAnswer(_PlainAnswer, frozen=True):
    """The answer to a claim; `embed` holds the argument for NeetoCal's script.

    `embed_html` is the code for a page, or a block for a customer who has booked. It is there if
    the request asked for a type of embed.
    """

    embed_html: str | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode


def claim_answer(receipt: Receipt, customer_id: str, workspace: Workspace) -> bytes:
    """Return the body that answers a claim."""
    return _encode(
        _answer(receipt.meeting.sid, receipt.claim, receipt.reused, customer_id, workspace)
    )


def claim_body(receipt: Receipt, customer_id: str, workspace: Workspace) -> ClaimBody:
    """Return a claim as a batch shows it among others."""
    meeting, claim = receipt.meeting, receipt.claim
    return _answer(meeting.sid, claim, receipt.reused, customer_id, workspace).claim


def embedded_claim_answer(
    receipt: Receipt, customer_id: str, workspace: Workspace, options: Options
) -> bytes:
    """Return the body that answers a claim and brings the code for a page."""
    sid, claim = receipt.meeting.sid, receipt.claim
    return _encode(_embedded(sid, claim, receipt.reused, customer_id, workspace, options))


def kept_claim_answer(
    sid: str,
    claim: Claim,
    customer_id: str,
    workspace: Workspace,
    options: Options | None = None,
    *,
    reused: bool = True,
) -> bytes:
    """Return the body that shows an existing claim, with the code for a page if options ask."""
    if options is None:
        return _encode(_answer(sid, claim, reused, customer_id, workspace))
    return _encode(_embedded(sid, claim, reused, customer_id, workspace, options))


def _answer(
    sid: str, claim: Claim, reused: bool, customer_id: str, workspace: Workspace
) -> _PlainAnswer:
    return _PlainAnswer(
        ClaimBody(
            sid,
            customer_id,
            claim.slug,
            f"{workspace.link_url}/{claim.slug}",
            claim.state,
            claim.source,
            iso_ms(claim.claimed_at_ms),
            iso_ms(claim.consumed_at_ms) if claim.consumed_at_ms else None,
            claim.booking_sid,
            booking_body(claim.booked) if claim.booked else msgspec.UNSET,
        ),
        reused,
        arguments(workspace.subdomain, claim.slug, workspace.ref_field),
    )


def _embedded(
    sid: str, claim: Claim, reused: bool, customer_id: str, workspace: Workspace, options: Options
) -> ClaimAnswer:
    plain = _answer(sid, claim, reused, customer_id, workspace)
    return ClaimAnswer(
        plain.claim,
        reused,
        arguments(workspace.subdomain, claim.slug, workspace.ref_field, options),
        html(workspace, claim, options),
    )


def booking_body(booked: Booked) -> BookingBody:
    """Return a booking as callers see it."""
    return BookingBody(
        booked.sid,
        booked.state,
        iso_ms(booked.starts_at_ms) if booked.starts_at_ms is not None else None,
        iso_ms(booked.ends_at_ms) if booked.ends_at_ms is not None else None,
        booked.time_zone,
        booked.manage_url,
    )


def iso_ms(milliseconds: int) -> str:
    """Return an RFC 3339 time in UTC from milliseconds since 1970."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # Claims of one second share all but their milliseconds.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def link_answer(
    link: Link, bookings: Sequence[Booking], replaced: tuple[datetime, str] | None = None
) -> dict[str, Any]:
    """Return a link, all of its bookings, and its history, oldest first.

    `replaced` is the time and the reason of its replacement, if it was replaced.
    """
    moments = [
        ("created", link.created_at),
        ("claimed", link.claimed_at),
        ("consumed", link.consumed_at),
        ("cancelled", link.cancelled_at),
    ]
    if link.state is State.LAPSED:
        moments.append(("lapsed", link.lapses_at))
    if replaced is not None:
        moments.append(("replaced", replaced[0]))
    history = sorted((at, what) for what, at in moments if at is not None)
    return {
        "link": {
            "slug": link.slug,
            "url": link.url,
            "meeting_sid": link.meeting_sid,
            "state": link.state.value,
            "source": link.source,
            "customer_id": link.customer_id,
            "email": link.email,
            "metadata": link.metadata,
            "created_at": iso(link.created_at),
            "claimed_at": iso(link.claimed_at),
            "lapses_at": iso(link.lapses_at),
            "consumed_at": iso(link.consumed_at),
            "cancelled_at": iso(link.cancelled_at),
            "booking_sid": link.booking_sid,
            "match": link.match,
            "bookings": [
                {
                    "sid": named_sid(each.sid),
                    "state": each.state,
                    "starts_at": iso(each.starts_at),
                    "ends_at": iso(each.ends_at),
                    "time_zone": each.time_zone,
                    "parent_sid": each.parent_sid,
                    "created_at": iso(each.made_at),
                    "updated_at": None if each.changed_at == CARRIED else iso(each.changed_at),
                    "match": each.match,
                }
                for each in bookings
            ],
        },
        "history": [
            {"at": iso(at), "what": what}
            | ({"reason": replaced[1]} if what == "replaced" and replaced else {})
            for at, what in history
        ],
    }


def iso(at: datetime | None) -> str | None:
    """Return an RFC 3339 time in UTC, or None for None."""
    return None if at is None else iso_ms(to_ms(at))
