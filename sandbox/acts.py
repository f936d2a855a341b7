"""Do what visitors and hosts do with bookings, and send the webhooks about it.

| act             | bookings afterwards                     | webhook                             |
|-----------------|-----------------------------------------|-------------------------------------|
| book, plain     | confirmed                               | booking_created                     |
| book, series    | N confirmed, N-1 of them with a parent  | booking_created, N times            |
| book, approval  | pending; the link is closed             | booking_created (status pending)    |
| book, payment   | incomplete; knob incomplete_closes_link | none; knob webhook_on_incomplete    |
| confirm         | incomplete or pending: confirmed        | booking_created                     |
| approve, reject | pending: confirmed, rejected            | booking_created, booking_cancelled; |
|                 |                                         | knob webhook_on_approval            |
| cancel          | cancelled, one or its series            | booking_cancelled for each          |
| reschedule      | the same with new times, or a new one   | booking_rescheduled, or created and |
|                 | and the old one cancelled               | cancelled in either order           |
| set_status      | any status, known or unknown            | none                                |

The provider does not document what it sends on approval, payment and rescheduling; hence the
knobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack, get_args

from sandbox.answers import booking_json
from sandbox.clock import days_later
from sandbox.counters import Counters
from sandbox.knobs import Knobs
from sandbox.records import (
    CANCELLED,
    CONFIRMED,
    INCOMPLETE,
    PENDING,
    REJECTED,
    Booking,
    Form,
    Refused,
    RescheduleStyle,
)
from sandbox.rules import MeetingRules
from sandbox.state import State
from sandbox.webhooks import Webhooks

SERIES_STEP_DAYS = 7
_FIRST_STATUS = {"approval": PENDING, "payment": INCOMPLETE}


@dataclass(kw_only=True, eq=False)
class Acts:
    """The acts that pages and control calls share. Each may raise Refused."""

    knobs: Knobs
    counters: Counters
    state: State
    rules: MeetingRules
    webhooks: Webhooks
    public_url: str

    @property
    def link_base_url(self) -> str:
        """Return what URLs of links and booking pages begin with: the custom domain, if set."""
        return self.knobs.link_base_url or self.public_url

    def book(
        self,
        *,
        slug: str | None,
        meeting_sid: str | None,
        created_at: str | None = None,
        **form: Unpack[Form],
    ) -> Booking:
        """Fill in the form of a link or of a meeting. Return the booking, of a series the first."""
        sid = self.state.bookable(slug, meeting_sid).sid
        if not self.rules.is_available(sid):
            raise Refused(409, "this meeting is not available")
        kind = self.rules.kind(sid)
        status = _FIRST_STATUS.get(kind, CONFIRMED)
        booking = self.state.book(
            slug=slug,
            meeting_sid=meeting_sid,
            status=status,
            closes_link=status != INCOMPLETE or self.knobs.incomplete_closes_link,
            created_at=created_at,
            **form,
        )
        made = [booking]
        if kind == "series":
            for number in range(1, self.knobs.series_length):
                later = days_later(form["starts_at"], number * SERIES_STEP_DAYS)
                made.append(
                    self.state.another(
                        booking,
                        starts_at=later,
                        parent_sid=booking.sid,
                        created_at=booking.created_at,
                    )
                )
        self.counters.bookings_by_meeting[sid] += len(made)
        if status != INCOMPLETE or self.knobs.webhook_on_incomplete:
            for each in made:
                self._tell("booking_created", each)
        return booking

    def confirm(self, booking_sid: str) -> Booking:
        """Finish the payment, or confirm by hand. The link is used up from then on."""
        booking = self._in(booking_sid, INCOMPLETE, PENDING)
        confirmed = self.state.change(booking, status=self.knobs.approved_status, closes_link=True)
        self._tell("booking_created", confirmed)
        return confirmed

    def approve(self, booking_sid: str) -> Booking:
        """Approve a pending booking, as the host."""
        booking = self._in(booking_sid, PENDING)
        approved = self.state.change(booking, status=self.knobs.approved_status)
        if self.knobs.webhook_on_approval:
            self._tell("booking_created", approved)
        return approved

    def reject(self, booking_sid: str) -> Booking:
        """Reject a pending booking, as the host."""
        rejected = self.state.change(self._in(booking_sid, PENDING), status=REJECTED)
        if self.knobs.webhook_on_approval:
            self._tell("booking_cancelled", rejected)
        return rejected

    def set_status(self, booking_sid: str, status: str) -> Booking:
        """Write any status, without a webhook."""
        return self.state.change(self.state.booking(booking_sid), status=status)

    def cancel(
        self,
        booking_sid: str,
        *,
        series: bool = False,
        reason: str = "Cancelled by the client",
        by: str = "client",
        reschedule_requested: bool = False,
    ) -> Booking:
        """Cancel a booking, or all of its series that stand. Its link stays used."""
        asked = self.state.booking(booking_sid)
        found = self.state.series_of(asked) if series else [asked]
        standing = [each for each in found if each.stands]
        if not standing:
            raise Refused(409, _why_not(asked))
        for each in standing:
            cancelled = self.state.change(
                each,
                status=CANCELLED,
                cancel_reason=reason,
                cancelled_by=by,
                reschedule_requested=reschedule_requested,
            )
            self._tell("booking_cancelled", cancelled)
        return self.state.booking(booking_sid)

    def reschedule(
        self, booking_sid: str, *, style: str | None = None, starts_at: str | None = None
    ) -> Booking:
        """Move a booking, by a day if no time is given. Return the one that stands afterwards."""
        style = style or self.knobs.reschedule_style
        if style not in get_args(RescheduleStyle):
            raise Refused(422, f"style: takes one of {', '.join(get_args(RescheduleStyle))}")
        old = self.state.booking(booking_sid)
        if not old.stands:
            raise Refused(409, _why_not(old))
        starts_at = starts_at or days_later(old.starts_at, 1)
        if style == "same_sid":
            moved = self.state.change(old, starts_at=starts_at)
            self._tell("booking_rescheduled", moved)
            return moved
        new = self.state.another(old, starts_at=starts_at, parent_sid=old.parent_sid)
        self.counters.bookings_by_meeting[new.meeting_sid] += 1
        gone = self.state.change(
            old, status=CANCELLED, cancel_reason="Rescheduled", cancelled_by="client"
        )
        events = [("booking_created", new), ("booking_cancelled", gone)]
        for event, booking in reversed(events) if style == "new_sid_cancelled_first" else events:
            self._tell(event, booking)
        return new

    def booking_json(self, booking: Booking) -> dict[str, Any]:
        """Return the booking as the API and the webhooks show it."""
        return booking_json(
            booking,
            self.state.meeting_name(booking.meeting_sid),
            base_url=self.link_base_url,
            carries_slug=self.knobs.webhook_carries_slug,
            names_meeting_sid=self.knobs.booking_names_meeting_sid,
            parent_is_sid=self.knobs.series_parent == "sid",
        )

    def _tell(self, event: str, booking: Booking) -> None:
        self.webhooks.emit(event, self.booking_json(booking))

    def _in(self, booking_sid: str, *statuses: str) -> Booking:
        booking = self.state.booking(booking_sid)
        if booking.status not in statuses:
            raise Refused(409, f"this booking is {booking.status}, not {' or '.join(statuses)}")
        return booking


def _why_not(booking: Booking) -> str:
    return {
        CANCELLED: "this booking was cancelled",
        REJECTED: "this booking was rejected",
        INCOMPLETE: "this booking is not paid yet; it holds no time that could be given up",
    }[booking.status]
