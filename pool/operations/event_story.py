"""Describe an event of the inbox: its appointment, and why it matched or did not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pool.ledger import Ledger
from pool.ledger.records import EventState, InboxEvent
from pool.model.bookings import Booking
from pool.operations.timelines import how_matched
from pool.providers import BookingEvent


@dataclass(frozen=True, slots=True)
class Appointment:
    """The time of a booking, in the zone that its booker chose, and its state."""

    starts_at: datetime | None
    ends_at: datetime | None
    time_zone: str | None
    state: str
    state_now: str  # after all events of the booking; empty: the same, or not known

    @property
    def words(self) -> str:
        """Return the time as its booker sees it."""
        if self.starts_at is None:
            return "no time is named"
        zone, named = _zone(self.time_zone)
        start = self.starts_at.astimezone(zone)
        text = start.strftime("%a %-d %b %Y, %H:%M")
        if self.ends_at is not None:
            end = self.ends_at.astimezone(zone)
            text += end.strftime(
                " to %H:%M" if end.date() == start.date() else " to %a %-d %b, %H:%M"
            )
        return f"{text} ({named})"


@dataclass(frozen=True, slots=True)
class Sign:
    """One of the signs by which a booking is matched to a link, the best first."""

    name: str
    found: str  # the event's own value of it
    decided: bool = False  # the match was made by this one


@dataclass(frozen=True, slots=True)
class Story:
    """An event's appointment, and the signs by which it was matched."""

    appointment: Appointment | None
    signs: tuple[Sign, ...]


async def story_of(
    ledger: Ledger, event: InboxEvent, said: BookingEvent | None, ref_field: str | None
) -> Story:
    """Return an event's story. `said` is None if its body was erased or cannot be read."""
    sid = event.booking_sid
    booking = await ledger.bookings.get(event.workspace, sid) if sid else None
    if said is None or said.kind == "other":
        return Story(_of_booking(booking) if booking else None, ())
    parent_sid = said.parent_sid
    parents = await ledger.bookings.find_named(event.workspace, [parent_sid] if parent_sid else [])
    ours = [link.slug for link in await ledger.links.find(said.candidates)]
    by = _decided(event, booking, known_parent=bool(parents))
    return Story(
        Appointment(
            said.starts_at,
            said.ends_at,
            said.time_zone,
            said.state,
            booking.state if booking and booking.state != said.state else "",
        ),
        (
            Sign("Known booking", _known(event, booking), by == "known"),
            Sign("Slug in the form", _in_form(said, ours, ref_field), by == "field"),
            Sign("Slug anywhere", _anywhere(ours), by == "slug"),
            Sign("Parent booking", _parent(parent_sid, found=bool(parents)), by == "parent"),
            Sign("E-mail", _email(event, said), by == "probable"),
        ),
    )


def _of_booking(booking: Booking) -> Appointment:
    return Appointment(
        booking.starts_at, booking.ends_at, booking.time_zone, booking.state, state_now=""
    )


def _decided(event: InboxEvent, booking: Booking | None, *, known_parent: bool) -> str:
    if event.state is not EventState.SETTLED or event.match != "booking":
        return event.match or ""
    # A booking that was matched by its parent has no better sign of its own.
    own = booking is not None and booking.match not in (None, "booking")
    return "known" if own or not known_parent else "parent"


def _known(event: InboxEvent, booking: Booking | None) -> str:
    if event.booking_sid is None:
        return "the event names no booking"
    if booking is None:
        return "this booking was never matched"
    how = how_matched(booking.match)
    return f"this booking was matched{' ' + how if how else ''}, to {booking.slug}"


def _in_form(said: BookingEvent, ours: list[str], ref_field: str | None) -> str:
    if ref_field is None:
        return "no field carries it: LINKPOOL_NEETOCAL_REF_FIELD is not set"
    if said.ref is None:
        return f"the field {ref_field} has no answer that could be a slug"
    mine = "a link of ours" if said.ref in ours else "no link of ours"
    return f"the field {ref_field} says {said.ref}, which is {mine}"


def _anywhere(ours: list[str]) -> str:
    if not ours:
        return "no text in the event is a slug of ours"
    return f"the event holds {', '.join(ours[:3])}{' and more' if len(ours) > 3 else ''}"


def _parent(parent_sid: str | None, *, found: bool) -> str:
    if parent_sid is None:
        return "it belongs to no other booking"
    return f"it belongs to {parent_sid}, which {'is known' if found else 'was never matched'}"


def _email(event: InboxEvent, said: BookingEvent) -> str:
    if said.email is None:
        return "the event has none"
    if event.match == "probable":
        return "one claim of this meeting gave it, and stood when the booking was made"
    if event.state is EventState.UNMATCHED:
        return f"the event has one, but {event.reason}"
    return "the event has one; it counts only where there is no better sign"


def _zone(name: str | None) -> tuple[tzinfo, str]:
    """Return the zone and its name; UTC where it is not known here, as on a bare machine."""
    try:
        return (ZoneInfo(name), name) if name else (UTC, "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC, f"UTC; booked in {name}"
