"""Collect what happened to a link: made, claimed, booked, and the actions of operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pool.ledger import Ledger
from pool.ledger.audit import SHOWN
from pool.ledger.records import AuditEntry, InboxEvent
from pool.ledger.search import Found
from pool.model.bookings import Booking, is_documented
from pool.model.links import Link, State

What = Literal[
    "made",
    "withdrawn",
    "claimed",
    "lapsed",
    "booking",
    "event",
    "cancelled",
    "forgotten",
    "assign",
    "replay",
    "shown",
]


@dataclass(frozen=True, slots=True)
class Moment:
    """One event in the life of a link."""

    at: datetime
    what: What
    said: str  # one sentence for operators, without personal data
    by: str = ""  # who did it: the id of a key, or a part of linkpool
    event_id: str | None = None  # the webhook event it is about


@dataclass(frozen=True, slots=True)
class Timeline:
    """A link and everything known to have happened to it, the oldest first."""

    link: Link
    moments: tuple[Moment, ...]


async def timelines(ledger: Ledger, found: list[Found]) -> list[Timeline]:
    """Return the timelines of these links, in the same order. Raise LedgerUnavailable."""
    return [await _timeline(ledger, each) for each in found]


async def _timeline(ledger: Ledger, found: Found) -> Timeline:
    events = await ledger.inbox.of_link(found.link.slug, found.link.booking_sid)
    acts = await ledger.audit.of_events([event.id for event in events])
    bookings = await ledger.bookings.of_link(found.link.slug)
    moments = [
        *_of_link(found),
        *(_of_booking(each) for each in bookings if not is_documented(each.state)),
        *map(_of_event, events),
        *map(_of_act, acts),
    ]
    return Timeline(found.link, tuple(sorted(moments, key=lambda moment: moment.at)))


def _of_link(found: Found) -> Iterator[Moment]:
    link = found.link
    how = "on the spot, because the pool was empty" if link.source == "direct" else "by top-up"
    yield Moment(link.created_at, "made", f"Made at the provider {how}")
    if found.withdrawn_at is not None:
        why = {
            State.RETIRED: "Retired: too old, or drained",
            State.QUARANTINED: "Quarantined: Redis may have forgotten that it was shown",
        }
        if found.withdrawn_reason is not None:
            why = {State.RETIRED: f"Replaced by another link: {found.withdrawn_reason}"}
        said = why.get(link.state, "Taken out of the pool, but then found to be in use")
        yield Moment(found.withdrawn_at, "withdrawn", said)
    if link.claimed_at is not None:
        yield Moment(link.claimed_at, "claimed", "Claimed by the customer")
    if link.state is State.LAPSED and link.lapses_at is not None and not found.forgotten_at:
        yield Moment(link.lapses_at, "lapsed", "Lapsed: nobody booked in time")
    if link.consumed_at is not None:
        yield Moment(link.consumed_at, "booking", f"Booked{_matched(link.match)}")
    if link.cancelled_at is not None:
        yield Moment(link.cancelled_at, "cancelled", "The booking was cancelled")
    if found.forgotten_at is not None:
        yield Moment(found.forgotten_at, "forgotten", "The customer was erased")


def _of_booking(booking: Booking) -> Moment:
    said = f"The booking has the state {booking.state!r}, which the provider does not document; "
    return Moment(booking.heard_at, "booking", said + "it is treated as a booking that stands")


_HOW = {
    "field": "by the slug in the booking's form",
    "slug": "by the slug in the event",
    "assigned": "by an operator",
    "booking": "by the booking's SID",
    "probable": "probably, by e-mail",
}


def how_matched(match: str | None) -> str:
    """Return how a booking was matched to its link, in words. Empty if it was not."""
    return _HOW.get(match, match) if match else ""


def _matched(match: str | None) -> str:
    return f", matched {how_matched(match)}" if match else ""


def _of_event(event: InboxEvent) -> Moment:
    source = "Webhook" if event.source == "webhook" else "Found at the provider:"
    repeats = f", {event.seen} times" if event.seen > 1 else ""
    outcome = f": {event.reason}" if event.reason else ""
    return Moment(
        event.received_at,
        "event",
        f"{source} {event.event}{repeats}, {event.state.value}{_matched(event.match)}{outcome}",
        event_id=event.id,
    )


_DONE = {"assign": "Event assigned to this link", SHOWN: "Name and e-mail of the booker shown"}


def _of_act(act: AuditEntry) -> Moment:
    done = _DONE.get(act.action, "Event replayed")
    reason = f": {act.reason}" if act.reason else ""
    event_id = act.detail.get("event")
    return Moment(
        act.at,
        "assign" if act.action == "assign" else "shown" if act.action == SHOWN else "replay",
        done + reason,
        by=act.actor,
        event_id=event_id if isinstance(event_id, str) else None,
    )
