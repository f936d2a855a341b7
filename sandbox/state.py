"""Hold the meetings, links and bookings that exist, and the file that keeps them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Unpack

from sandbox.clock import iso, utc_now
from sandbox.journal import Journal
from sandbox.records import CONFIRMED, Booking, Form, Link, Meeting, Refused

MEETINGS_MOST = 20_000
BOOKINGS_MOST = 100_000


class State:
    """All that exists. The oldest links beyond `links_most` are forgotten, to bound the memory."""

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
        self.series: dict[str, list[str]] = {}  # a parent's SID to its children's
        self.changes = 0  # counts every change of a booking
        self._any_meeting = any_meeting
        self._links_most = links_most
        self._journal = journal
        self._bookings_made = 0
        for sid, name in meetings.items():
            self._add_meeting(sid, name)

    def load(self) -> None:
        """Take over what the journal has, and continue writing it. Raise OSError."""
        for entry in self._journal.read():
            try:
                self._replay(entry)
            except (TypeError, KeyError):
                continue  # a line of another version must not stop the start
        self._journal.open(self._entries())

    # -- meetings and links

    def meeting(self, sid: str) -> Meeting | None:
        """Return the meeting of this SID; if any SID is accepted, make it first."""
        known = self.meetings.get(sid)
        if known is None and self._any_meeting and _is_sid(sid):
            if len(self.meetings) >= MEETINGS_MOST:
                return None
            return self._add_meeting(sid, f"Meeting {sid}")
        return known

    def meeting_name(self, sid: str) -> str:
        """Return a meeting's name, or its SID if it is gone."""
        meeting = self.meetings.get(sid)
        return meeting.name if meeting else sid

    def make_link(self, meeting: Meeting) -> Link:
        """Make a link, with a slug never given before."""
        # Not from the seeded chance: a restart with the same seed would repeat its slugs.
        slug = f"one-off-{secrets.token_hex(6)}"
        while slug in self.links:
            slug = f"one-off-{secrets.token_hex(6)}"
        link = Link(slug, meeting.sid, iso(utc_now()))
        self._journal.append(_link_entry(link))
        self._keep_link(link, meeting)
        return link

    def bookable(self, slug: str | None, meeting_sid: str | None) -> Meeting:
        """Return the meeting that a link, or without one a meeting's SID, books.

        Raise Refused: 404 for an unknown slug or meeting, 410 for a used link.
        """
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
        return meeting

    # -- bookings

    def book(
        self,
        *,
        slug: str | None,
        meeting_sid: str | None,
        status: str = CONFIRMED,
        closes_link: bool = True,
        created_at: str | None = None,
        **form: Unpack[Form],
    ) -> Booking:
        """Make a booking with a one-off link, which is used up by it, or without one.

        Raise Refused as `bookable` does.
        """
        meeting = self.bookable(slug, meeting_sid)
        made_at = created_at or iso(utc_now())
        booking = Booking(
            number=self._bookings_made + 1,
            sid=secrets.token_hex(8),
            meeting_sid=meeting.sid,
            slug=slug,
            created_at=made_at,
            updated_at=made_at,
            status=status,
            closes_link=closes_link,
            **form,
        )
        self._save(booking)
        return booking

    def another(
        self,
        like: Booking,
        *,
        starts_at: str,
        parent_sid: str | None,
        created_at: str | None = None,
    ) -> Booking:
        """Make a booking of the same form at another time: of a series, or a new appointment."""
        made_at = created_at or iso(utc_now())
        booking = replace(
            like,
            number=self._bookings_made + 1,
            sid=secrets.token_hex(8),
            starts_at=starts_at,
            parent_sid=parent_sid,
            created_at=made_at,
            updated_at=made_at,
        )
        self._save(booking)
        return booking

    def change(self, booking: Booking, **fields: Any) -> Booking:
        """Change fields of a booking; its `updated_at` becomes now."""
        changed = replace(booking, **fields, updated_at=iso(utc_now()))
        self._save(changed)
        return changed

    def booking(self, booking_sid: str) -> Booking:
        """Return the booking of this SID. Raise Refused 404."""
        booking = self.bookings.get(booking_sid)
        if booking is None:
            raise Refused(404, "there is no booking of this SID")
        return booking

    def series_of(self, booking: Booking) -> list[Booking]:
        """Return all bookings of its series, the first one first, or itself if it has no series."""
        parent = booking.parent_sid or booking.sid
        sids = [parent, *self.series.get(parent, ())]
        return [self.bookings[sid] for sid in sids if sid in self.bookings]

    # -- inside

    def _save(self, booking: Booking) -> None:
        self._journal.append({"booking": asdict(booking)})
        self._keep_booking(booking)

    def _keep_booking(self, booking: Booking) -> None:
        if booking.sid not in self.bookings and booking.parent_sid is not None:
            self.series.setdefault(booking.parent_sid, []).append(booking.sid)
        self.bookings[booking.sid] = booking
        self.changes += 1
        self._bookings_made = max(self._bookings_made, booking.number)
        link = self.links.get(booking.slug) if booking.slug is not None else None
        if link is not None and link.booking_sid is None and booking.closes_link:
            link.booking_sid = booking.sid
        if len(self.bookings) > BOOKINGS_MOST:
            oldest = next(iter(self.bookings))
            del self.bookings[oldest]
            self.series.pop(oldest, None)

    def _keep_link(self, link: Link, meeting: Meeting) -> None:
        self.links[link.slug] = link
        meeting.recent_slugs.append(link.slug)
        if len(self.links) > self._links_most:
            del self.links[next(iter(self.links))]

    def _add_meeting(self, sid: str, name: str) -> Meeting:
        meeting = Meeting(sid, name)
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
