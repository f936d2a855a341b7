"""Meetings, links and bookings: what exists here, and the moves they can make."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sandbox.clock import iso, utc_now
from sandbox.journal import Journal

MEETINGS_MOST = 20_000
BOOKINGS_MOST = 100_000
RECENT_SLUGS = 200  # per meeting, to repeat one of them


class Refused(Exception):
    """What was asked for cannot be done; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Meeting:
    """A scheduling link that makes one-off links."""

    number: int
    sid: str
    name: str
    recent_slugs: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_SLUGS))


@dataclass(slots=True)
class Link:
    """A one-off link: unused until a booking is made with it, then expired for good."""

    slug: str
    meeting_sid: str
    made_at: str
    booking_sid: str | None = None


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
    status: str = "confirmed"  # or cancelled
    cancel_reason: str | None = None
    answers: dict[str, str] = field(default_factory=dict)


class State:
    """All that exists. The oldest links beyond `links_most` are forgotten, as memory is finite."""

    def __init__(
        self,
        journal: Journal,
        *,
        meetings: dict[str, str],
        any_meeting: bool,
        links_most: int = 500_000,
    ) -> None:
        self.meetings: dict[str, Meeting] = {}
        self.links: dict[str, Link] = {}
        self.bookings: dict[str, Booking] = {}
        self._any_meeting = any_meeting
        self._links_most = links_most
        self._journal = journal
        self._bookings_made = 0
        for sid, name in meetings.items():
            self._add_meeting(sid, name)

    def load(self) -> None:
        """Take over what the journal holds, and go on writing it. Raises OSError."""
        for entry in self._journal.read():
            try:
                self._replay(entry)
            except (TypeError, KeyError):
                continue  # a line of another version is no reason not to start
        self._journal.open(self._entries())

    # -- meetings and links

    def meeting(self, sid: str) -> Meeting | None:
        """The meeting of this SID; with any SID accepted, it comes into being here."""
        known = self.meetings.get(sid)
        if known is None and self._any_meeting and _is_sid(sid):
            if len(self.meetings) >= MEETINGS_MOST:
                return None
            return self._add_meeting(sid, f"Meeting {sid}")
        return known

    def make_link(self, meeting: Meeting) -> Link:
        """A new link, with a slug never given before."""
        # Not from the seeded chance: a restart with the same seed would repeat its slugs.
        slug = f"one-off-{secrets.token_hex(6)}"
        while slug in self.links:
            slug = f"one-off-{secrets.token_hex(6)}"
        link = Link(slug, meeting.sid, iso(utc_now()))
        self._journal.append(_link_entry(link))
        self._keep_link(link, meeting)
        return link

    # -- bookings

    def book(
        self,
        *,
        slug: str | None,
        meeting_sid: str | None,
        name: str,
        email: str,
        starts_at: str,
        answers: dict[str, str],
    ) -> Booking:
        """A booking with a one-off link, which is used up by it, or without one.

        Raises Refused: 404 for an unknown slug or meeting, 410 for a used link.
        """
        link: Link | None = None
        if slug is not None:
            link = self.links.get(slug)
            if link is None:
                raise Refused(404, "there is no link of this slug")
            if link.booking_sid is not None:
                raise Refused(410, "link expired: it was used for a booking")
            meeting_sid = link.meeting_sid
        meeting = self.meeting(meeting_sid or "")
        if meeting is None:
            raise Refused(404, "there is no meeting of this SID")
        now = iso(utc_now())
        booking = Booking(
            number=self._bookings_made + 1,
            sid=secrets.token_hex(8),
            meeting_sid=meeting.sid,
            slug=slug,
            name=name,
            email=email,
            starts_at=starts_at,
            created_at=now,
            updated_at=now,
            answers=answers,
        )
        self._save(booking)
        return booking

    def cancel(self, booking_sid: str, reason: str) -> Booking:
        """The booking, cancelled. Its link stays used. Raises Refused 404, 409."""
        booking = self._live(booking_sid)
        cancelled = replace(
            booking, status="cancelled", cancel_reason=reason, updated_at=iso(utc_now())
        )
        self._save(cancelled)
        return cancelled

    def reschedule(self, booking_sid: str) -> Booking:
        """The booking, one day later. Raises Refused 404, 409."""
        booking = self._live(booking_sid)
        later = datetime.fromisoformat(booking.starts_at) + timedelta(days=1)
        moved = replace(booking, starts_at=iso(later), updated_at=iso(utc_now()))
        self._save(moved)
        return moved

    def booking(self, booking_sid: str) -> Booking:
        """Raises Refused 404."""
        booking = self.bookings.get(booking_sid)
        if booking is None:
            raise Refused(404, "there is no booking of this SID")
        return booking

    # -- inside

    def _live(self, booking_sid: str) -> Booking:
        booking = self.booking(booking_sid)
        if booking.status == "cancelled":
            raise Refused(409, "this booking was cancelled")
        return booking

    def _save(self, booking: Booking) -> None:
        self._journal.append({"booking": asdict(booking)})
        self._keep_booking(booking)

    def _keep_booking(self, booking: Booking) -> None:
        self.bookings[booking.sid] = booking
        self._bookings_made = max(self._bookings_made, booking.number)
        if booking.slug is not None and (link := self.links.get(booking.slug)):
            link.booking_sid = booking.sid
        if len(self.bookings) > BOOKINGS_MOST:
            del self.bookings[next(iter(self.bookings))]

    def _keep_link(self, link: Link, meeting: Meeting) -> None:
        self.links[link.slug] = link
        meeting.recent_slugs.append(link.slug)
        if len(self.links) > self._links_most:
            del self.links[next(iter(self.links))]

    def _add_meeting(self, sid: str, name: str) -> Meeting:
        meeting = Meeting(len(self.meetings) + 1, sid, name)
        self.meetings[sid] = meeting
        return meeting

    def _replay(self, entry: dict[str, Any]) -> None:
        if "link" in entry:
            link = Link(**entry["link"])
            # A meeting that is no longer named on the command line keeps its links.
            meeting = self.meetings.get(link.meeting_sid) or self._add_meeting(
                link.meeting_sid, f"Meeting {link.meeting_sid}"
            )
            self._keep_link(link, meeting)
        elif "booking" in entry:
            self._keep_booking(Booking(**entry["booking"]))

    def _entries(self) -> Iterator[dict[str, Any]]:
        for link in self.links.values():
            yield _link_entry(link)
        for booking in self.bookings.values():
            yield {"booking": asdict(booking)}


def _link_entry(link: Link) -> dict[str, Any]:
    return {"link": {"slug": link.slug, "meeting_sid": link.meeting_sid, "made_at": link.made_at}}


def _is_sid(text: str) -> bool:
    return (
        0 < len(text) <= 64 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    )
