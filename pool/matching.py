"""Which link a booking is about, by the best sign its event gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pool.ledger import Ledger
from pool.links import Link
from pool.providers import BookingEvent
from pool.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Match:
    """The link a booking is about, and how that was found out."""

    link: Link
    how: str  # field | slug | assigned | booking | probable


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a booking belongs to no link of ours, as far as can be told."""

    reason: str


class Matcher:
    """Matches events to links. Only reads, but records claims before it looks for their e-mails."""

    def __init__(self, ledger: Ledger, recorder: Recorder) -> None:
        self._ledger = ledger
        self._recorder = recorder

    async def match(self, workspace: str, event: BookingEvent) -> Match | Mismatch:
        """The link a booking used, by the best sign there is."""
        meetings = {
            meeting.sid
            for meeting in await self._ledger.meetings.all()
            if meeting.workspace == workspace
        }
        ours = [
            link
            for link in await self._ledger.links.find(_candidates(event))
            if link.meeting_sid in meetings
        ]
        there = [link for link in ours if event.meeting_sid in (None, link.meeting_sid)]
        if ours and not there and event.meeting_sid in meetings:
            return Mismatch("it names a link of another meeting")
        # A meeting we do not know by that SID is no reason to doubt a slug of ours.
        there = there or ours
        by_field = [link for link in there if link.slug == event.ref]
        if by_field:
            return Match(by_field[0], "field")
        if len(there) == 1:
            return Match(there[0], "slug")
        if len(there) > 1:
            return Mismatch("it names several links")
        if event.booking_sid:
            known = await self._ledger.links.by_booking(sorted(meetings), event.booking_sid)
            if known is not None:
                return Match(known, "booking")
        return await self._by_email(meetings, event)

    async def _by_email(self, meetings: set[str], event: BookingEvent) -> Match | Mismatch:
        if event.email is None:
            return Mismatch("it names no link, and has no e-mail")
        if event.kind == "cancelled":
            return Mismatch("it names no link, and its booking was never seen")
        where = {event.meeting_sid} & meetings if event.meeting_sid else meetings
        if not where:
            return Mismatch("it names no link, and its meeting is not one of ours")
        for sid in where:
            await self._recorder.record(sid)
        since = datetime.now(UTC) - timedelta(days=366)
        found = await self._ledger.links.live_by_email(sorted(where), event.email, since=since)
        if len(found) == 1:
            return Match(found[0], "probable")
        if found:
            return Mismatch("it names no link, and several claims gave its e-mail")
        return Mismatch("it names no link, and no claim gave its e-mail")


def _candidates(event: BookingEvent) -> list[str]:
    return list(dict.fromkeys([*([event.ref] if event.ref else []), *event.tokens]))
