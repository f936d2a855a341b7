"""Meetings, bookings and lists as NeetoCal's API writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sandbox.clock import iso, utc_now
from sandbox.state import Booking, Meeting

DURATION_MINUTES = 30
PAGE_SIZE = 30
PAGE_SIZE_MOST = 100
SEARCH_LEAST_CHARACTERS = 3

T = TypeVar("T")


def meeting_json(meeting: Meeting, *, disabled: bool) -> dict[str, Any]:
    """A meeting as in GET /meetings."""
    return {
        "id": meeting.number,
        "sid": meeting.sid,
        "name": meeting.name,
        "slug": meeting.sid.lower(),
        "kind": "one_on_one",
        "duration": DURATION_MINUTES,
        "disabled": disabled,
    }


def booking_json(
    booking: Booking,
    meeting_name: str,
    *,
    base_url: str,
    carries_slug: bool,
    names_meeting_sid: bool,
) -> dict[str, Any]:
    """A booking as in GET /bookings and in webhooks.

    Whether the real one ever carries the link's slug is not documented, hence the switch.
    """
    client_url = f"{base_url}/bookings/{booking.sid}"
    if carries_slug and booking.slug is not None:
        client_url += f"?one_off_link={booking.slug}"
    meeting = {"name": meeting_name}
    if names_meeting_sid:
        meeting["sid"] = booking.meeting_sid
    ends = datetime.fromisoformat(booking.starts_at) + timedelta(minutes=DURATION_MINUTES)
    return {
        "id": booking.number,
        "sid": booking.sid,
        "name": booking.name,
        "email": booking.email,
        "starts_at": booking.starts_at,
        "ends_at": iso(ends),
        "time_zone": "UTC",
        "status": booking.status,
        "cancel_reason": booking.cancel_reason,
        "meeting": meeting,
        "metadata": {},
        "admin_booking_url": f"{base_url}/admin/bookings/{booking.sid}",
        "client_booking_url": client_url,
        "form_responses": [
            {"field": code.replace("_", " "), "value": value, "type": "text", "field_code": code}
            for code, value in booking.answers.items()
        ],
        "created_at": booking.created_at,
        "updated_at": booking.updated_at,
    }


def chosen(bookings: Sequence[Booking], query: Mapping[str, str]) -> list[Booking]:
    """The bookings that pass all filters of `query`, sorted as it says (newest made first)."""
    now = iso(utc_now())
    tests: dict[str, Callable[[Booking], bool]] = {
        "upcoming": lambda b: b.status != "cancelled" and b.starts_at > now,
        "past": lambda b: b.status != "cancelled" and b.starts_at <= now,
        "cancelled": lambda b: b.status == "cancelled",
    }
    kind = tests.get(query.get("type", ""))
    email = query.get("client_email", "").lower()
    sid = query.get("meeting_sid", "")
    search = query.get("search", "").lower()
    if len(search) < SEARCH_LEAST_CHARACTERS:
        search = ""
    found = [
        booking
        for booking in bookings
        if (kind is None or kind(booking))
        and (not email or booking.email.lower() == email)
        and (not sid or booking.meeting_sid == sid)
        and (not search or any(search in text.lower() for text in _searched(booking)))
    ]
    by_start = query.get("sorting_key") == "starts_at"
    found.sort(
        key=lambda b: (b.starts_at if by_start else b.created_at, b.number),
        reverse=query.get("sorting_order", "desc") != "asc",
    )
    return found


def page_of(items: Sequence[T], query: Mapping[str, str]) -> tuple[list[T], dict[str, int]]:
    """One page of `items` and the pagination object; unusable numbers count as absent."""
    size = min(_positive(query.get("page_size"), PAGE_SIZE), PAGE_SIZE_MOST)
    number = _positive(query.get("page_number"), 1)
    pagination = {
        "total_records": len(items),
        "total_pages": -(-len(items) // size),
        "current_page_number": number,
        "page_size": size,
    }
    return list(items[(number - 1) * size : number * size]), pagination


def _searched(booking: Booking) -> tuple[str, ...]:
    return (booking.name, booking.email, *booking.answers.values())


def _positive(text: str | None, default: int) -> int:
    # A number of a thousand digits is a number too, and Python refuses to read it.
    if text is not None and text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    return default
