"""Write meetings and bookings as NeetoCal's API and its webhooks do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sandbox.clock import iso
from sandbox.records import Booking, Meeting, booking_id, meeting_id

DURATION_MINUTES = 30
HOST_NAME = "Sam Host"
HOST_EMAIL = "host@example.com"


def meeting_json(meeting: Meeting, *, disabled: bool) -> dict[str, Any]:
    """Return a meeting as in GET /meetings."""
    return {
        "id": meeting_id(meeting.sid),
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
    parent_is_sid: bool,
) -> dict[str, Any]:
    """Return a booking as in GET /bookings and in webhooks: the documented fields.

    The real one documents no field that carries the link's slug; a switch makes it carry it.
    """
    client_url = f"{base_url}/bookings/{booking.sid}"
    if carries_slug and booking.slug is not None:
        client_url += f"?one_off_link={booking.slug}"
    meeting = {"name": meeting_name}
    if names_meeting_sid:
        meeting["sid"] = booking.meeting_sid
    parent = booking.parent_sid
    if parent is not None and not parent_is_sid:
        parent = booking_id(parent)
    ends = datetime.fromisoformat(booking.starts_at) + timedelta(minutes=DURATION_MINUTES)
    return {
        "id": booking_id(booking.sid),
        "sid": booking.sid,
        "parent_booking_id": parent,
        "name": booking.name,
        "email": booking.email,
        "host_name": HOST_NAME,
        "starts_at": booking.starts_at,
        "ends_at": iso(ends),
        "time_zone": booking.time_zone,
        "status": booking.status,
        "cancel_reason": booking.cancel_reason,
        "cancelled_by": booking.cancelled_by,
        "reschedule_requested": booking.reschedule_requested,
        "meeting_id": meeting_id(booking.meeting_sid),
        "meeting": meeting,
        "metadata": {},
        "admin_booking_url": f"{base_url}/admin/bookings/{booking.sid}",
        "client_booking_url": client_url,
        "form_responses": [
            {"field": code.replace("_", " "), "value": value, "type": "text", "field_code": code}
            for code, value in booking.answers.items()
        ],
        "form_responses_as_hash": dict(booking.answers),
        "created_at": booking.created_at,
        "updated_at": booking.updated_at,
    }
