"""Match a booking to its link, by the best sign in its event.

| sign | how sure | applies to |
|---|---|---|
| the booking is known | certain: it stays with its link, whatever the event says now | any event |
| the answer to the field that carries the slug | certain | any event |
| a slug of ours anywhere in the event | certain, if it is the only one | any event |
| the booking it belongs to is known | certain | any event |
| none of these, but it names what was pruned | certain: it matches no link now | any event |
| its e-mail | probable: one claim of that meeting stood when it was made | if it may stand |

A visitor can edit what comes back in the form, so a slug counts only where the event's meeting
is the link's, or is not known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pool.bookings.meeting_ids import MeetingIds
from pool.durability.recorder import Recorder
from pool.ledger import Ledger
from pool.model.bookings import CANCELLED, REJECTED
from pool.model.links import Link
from pool.model.meetings import Meeting
from pool.providers import BookingEvent

CLOCKS = timedelta(minutes=2)  # how much the provider's clock and Redis's may differ


@dataclass(frozen=True, slots=True)
class Match:
    """The link that a booking is about, and the sign it was matched by."""

    link: Link
    how: str  # field | slug | assigned | booking | probable


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The reason why a booking could not be matched to one of our links."""

    reason: str
    is_final: bool = False  # True: it never will be, so nobody needs to look at it again


class Matcher:
    """Matches events to links. It only reads, but records claims before it searches by e-mail."""

    def __init__(self, ledger: Ledger, recorder: Recorder, ids: MeetingIds) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._ids = ids

    async def match(
        self, workspace: str, event: BookingEvent, heard_at: datetime
    ) -> Match | Mismatch:
        """Return the link a booking used, by the best sign there is, or why there is none.

        `heard_at` is when its event arrived first; it replaces a time that the event lacks.
        """
        meetings = {
            meeting.sid: meeting
            for meeting in await self._ledger.meetings.all()
            if meeting.workspace == workspace
        }
        named = await self._named(workspace, meetings, event)
        known = await self._known(workspace, event.booking_sid)
        if known is not None:
            if isinstance(named, Match) and named.link.slug == known.slug:
                return named
            return Match(known, "booking")
        if named is not None:
            return named
        parent = await self._parent(workspace, event.parent_sid)
        if parent is not None:
            return Match(parent, "booking")
        if await self._is_pruned(workspace, event):
            # Not by its e-mail, either: that may be of a later claim.
            return Mismatch("it is about a link past LEDGER_RETENTION_DAYS", is_final=True)
        return await self._by_email(workspace, meetings, event, heard_at)

    async def by_one_name(self, workspace: str, event: BookingEvent) -> BookingEvent:
        """Return the event with the one SID by which its booking is to be known.

        One report of a booking may give its SID and its id, and another only the id. The SID
        counts, whichever came first.
        """
        names = [name for name in (event.booking_sid, event.provider_id) if name]
        known = await self._ledger.bookings.find_named(workspace, names)
        sid, number = event.booking_sid, event.provider_id
        by_sid = known.get(sid) if sid is not None else None
        if number is None:
            return event if by_sid is None else replace(event, booking_sid=by_sid.sid)
        by_number = known.get(number)
        if sid is None or by_number is None or by_number.sid != number:
            return event
        if by_sid is None or by_sid.slug == by_number.slug:  # of two links, each keeps its own
            await self._ledger.bookings.rename(workspace, number, sid)
        return event

    async def hopeless(self, workspace: str, events: Collection[BookingEvent]) -> set[str]:
        """Return the SIDs of the bookings that certainly match no link.

        The others may match none, either. The ledger is asked for all of them at once.
        """
        slugs = {slug for event in events for slug in event.candidates}
        ours = {link.slug for link in await self._ledger.links.find(sorted(slugs))}
        parents = await self._ledger.bookings.find_named(
            workspace, {event.parent_sid for event in events if event.parent_sid}
        )
        emails = await self._ledger.links.known_emails(
            {event.email for event in events if event.email}
        )
        return {
            event.booking_sid
            for event in events
            if event.booking_sid
            and ours.isdisjoint(event.candidates)
            and event.parent_sid not in parents
            and event.email not in emails
        }

    async def _named(
        self, workspace: str, meetings: dict[str, Meeting], event: BookingEvent
    ) -> Match | Mismatch | None:
        """Return the match by the slugs in the event, and None if none of them is ours."""
        found = await self._ledger.links.find(event.candidates)
        ours = [link for link in found if link.meeting_sid in meetings]
        if not ours:
            return None
        there = ours
        sid = event.meeting_sid
        if sid is None and event.meeting_id is not None:
            # The provider itself says which meeting that is, ours or not.
            sid = await self._ids.sid_of(workspace, event.meeting_id)
            there = [link for link in ours if sid in (None, link.meeting_sid)]
        elif sid in meetings:
            there = [link for link in ours if link.meeting_sid == sid]
        # A meeting that we do not know by the SID in an event is no reason to doubt a slug.
        if not there:
            return Mismatch("it names a link of another meeting")
        by_field = [link for link in there if link.slug == event.ref]
        if by_field:
            return Match(by_field[0], "field")
        if len(there) == 1:
            return Match(there[0], "slug")
        return Mismatch("it names several links")

    async def _parent(self, workspace: str, name: str | None) -> Link | None:
        if name is None:
            return None
        booking = (await self._ledger.bookings.find_named(workspace, [name])).get(name)
        return await self._ledger.links.get(booking.slug) if booking is not None else None

    async def _known(self, workspace: str, booking_sid: str | None) -> Link | None:
        if booking_sid is None:
            return None
        booking = await self._ledger.bookings.get(workspace, booking_sid)
        return None if booking is None else await self._ledger.links.get(booking.slug)

    async def _is_pruned(self, workspace: str, event: BookingEvent) -> bool:
        names = [name for name in (event.booking_sid, event.parent_sid) if name]
        return await self._ledger.pruned.is_any(workspace, slugs=event.candidates, bookings=names)

    async def _by_email(
        self, workspace: str, meetings: dict[str, Meeting], event: BookingEvent, heard_at: datetime
    ) -> Match | Mismatch:
        if event.email is None:
            return Mismatch("it names no link, and has no e-mail")
        if event.state in (CANCELLED, REJECTED):
            # Another person's booking under this e-mail must not take the link away.
            return Mismatch("it names no link, and its booking was never seen")
        sid = await self._meeting_of(workspace, meetings, event)
        if isinstance(sid, Mismatch):
            return sid
        if not meetings[sid].match_email:
            return Mismatch("it names no link, and its meeting does not match by e-mail")
        await self._recorder.record(sid)
        # At the latest when we heard of it: a claim made after that cannot be the booked one.
        made_at = min(event.made_at or heard_at, heard_at)
        claims = await self._ledger.links.given_to_email(
            sid, event.email, by=made_at + CLOCKS, until=made_at
        )
        # Their state now does not matter, so that the order in which events arrive does not
        # matter. A customer who booked and claimed again held the later link at that time.
        held: dict[str | None, Link] = {}
        for link in claims:
            held.setdefault(link.customer_id, link)
        if len(held) == 1:
            return Match(next(iter(held.values())), "probable")
        if held:
            return Mismatch("it names no link, and several claims gave its e-mail")
        return Mismatch("it names no link, and no claim gave its e-mail before it was made")

    async def _meeting_of(
        self, workspace: str, meetings: dict[str, Meeting], event: BookingEvent
    ) -> str | Mismatch:
        sid = event.meeting_sid
        if sid is None and event.meeting_id is not None:
            sid = await self._ids.sid_of(workspace, event.meeting_id)
        silent = event.meeting_id is None or self._ids.gives_none(workspace)
        if sid is None and silent and len(meetings) == 1:
            [sid] = meetings
        if sid is None:
            return Mismatch("it names no link, and its meeting is not known")
        if sid not in meetings:
            return Mismatch("it names no link, and its meeting is not one of ours")
        return sid
