"""Bring a webhook to the link it is about: receive it, match it, settle it.

An event is in the ledger's inbox before it is answered, and leaves it only when the ledger
and Redis both say what it said. Every step may run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from pool.bookings.matcher import Match, Matcher
from pool.bookings.meeting_ids import MeetingIds
from pool.bookings.settling import Counted, Settler, event_label
from pool.durability.erasure import Erasure
from pool.durability.recorder import Recorder
from pool.errors import (
    BadSignature,
    BodyErased,
    MalformedJson,
    NotAssignable,
    UnknownEvent,
    UnknownLink,
    UnknownWorkspace,
)
from pool.ledger import Ledger
from pool.ledger.inbox_search import Sought
from pool.ledger.records import EventSource, EventState, InboxEvent, NewEvent
from pool.model.bookings import Booking, merged
from pool.model.links import Link
from pool.providers import BookingEvent, Provider, Verifier
from pool.providers.self_test import self_test_id
from pool.store import Store

log = structlog.get_logger()

_UNREADABLE = BookingEvent("other", "", None, None, None, None, (), None)


class Bookings:
    """Takes booking events in, and settles, replays and assigns them."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        providers: Mapping[str, Provider],
        *,
        counted: Counted,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._counted = counted
        self._matcher = Matcher(ledger, recorder, MeetingIds(ledger, providers))
        self._settler = Settler(store, ledger, recorder, providers, self._matcher, counted=counted)
        self._verifier = Verifier()
        self._erasure = Erasure(store, ledger, recorder, providers)

    # -- receiving -----------------------------------------------------------------

    async def receive(self, workspace: str, body: bytes, signatures: Sequence[str]) -> str:
        """Take a signed webhook into the inbox. Return its event id, the same for a repeat.

        A webhook that cannot be read is kept, too: a sender that is refused stops sending, and
        what it meant can be looked up. A test of our own (pool/providers/self_test.py) is
        answered, and changes nothing. Raise UnknownWorkspace, BadSignature or
        LedgerUnavailable.
        """
        provider = self._providers.get(workspace)
        if provider is None:
            raise UnknownWorkspace("there is no workspace of this name")
        try:
            await self._verifier.verify(provider, body, signatures)
        except BadSignature:
            self._counted(workspace, "unknown", "bad-signature")
            raise
        test = self_test_id(body)
        if test is not None:
            self._counted(workspace, "other", "test")
            return test
        try:
            event, outcome = provider.parse_event(body), "received"
        except MalformedJson as error:
            event, outcome = _UNREADABLE, "unreadable"
            log.warning("a signed event cannot be read", workspace=workspace, reason=str(error))
        identity = hashlib.sha256(body).hexdigest()
        kept, new = await self._ledger.inbox.add(
            await self._erasure.screen(_new_event(workspace, "webhook", event, body, identity))
        )
        self._counted(workspace, event_label(event), outcome if new else "repeated")
        return kept.id

    async def receive_listed(
        self, workspace: str, listed: Sequence[tuple[BookingEvent, bytes]]
    ) -> int:
        """Take those of the provider's listed bookings into the inbox that are news about a link.

        Return the number of events that were new.
        """
        known_as = await self._erasure.known_as(workspace, [event for event, _ in listed])
        events = {
            event.booking_sid: (event, body)
            for event, (_, body) in zip(known_as, listed, strict=True)
            if event.booking_sid is not None and event.kind in ("booked", "cancelled")
        }
        known = await self._ledger.bookings.find(workspace, events)
        strange = [event for sid, (event, _) in events.items() if sid not in known]
        hopeless = await self._matcher.hopeless(workspace, strange)
        now = datetime.now(UTC)
        news = 0
        for sid, (event, body) in events.items():
            booking = known.get(sid)
            if booking is not None:
                report = self._settler.report(workspace, event, booking.slug, booking.match, now)
                is_news = _news_of(merged(booking, report)) != _news_of(booking)
            elif sid in hopeless:
                is_news = False
            else:
                match = await self._matcher.match(workspace, event, now)
                is_news = isinstance(match, Match)
            if is_news:
                identity = hashlib.sha256(b"listed " + body).hexdigest()
                listed_event = _new_event(workspace, "reconcile", event, body, identity)
                _, new = await self._ledger.inbox.add(await self._erasure.screen(listed_event))
                news += new
        return news

    # -- settling --------------------------------------------------------------------

    async def settle_due(self, limit: int = 100) -> int:
        """Settle the events that wait and are due. Return how many it looked at."""
        events = await self._ledger.inbox.due(datetime.now(UTC), limit)
        for event in events:
            await self._settler.settle(event)
            await self._erasure.screen_settled(event.id)
        return len(events)

    async def replay(self, event_id: str, by: str, reason: str = "") -> InboxEvent:
        """Settle one event again, now, and note in the audit who asked for it.

        Return the event as it is afterwards. Raise UnknownEvent or BodyErased.
        """
        event = await self._known(event_id)
        if not event.body:
            raise BodyErased("the event's body was erased, so there is nothing to replay")
        await self._note("replay", event, event.meeting_sid, by, reason)
        return await self._settle_now(await self._ledger.inbox.retry(event_id))

    async def replay_dead(self, by: str, reason: str = "") -> int:
        """Have every dead event settled again, and note in the audit who asked for it.

        Return the number of events. The workers settle them; there may be very many.
        """
        events = await self._ledger.inbox.retry_dead()
        if events:
            await self._ledger.audit.add(by, "replay", None, reason, {"dead events": events})
        return events

    async def replay_found(
        self, sought: Sought, by: str, reason: str, about: Mapping[str, object]
    ) -> int:
        """Have the events that are found settled again, and note in the audit who asked for it.

        Return the number of events, at most REPLAY_MOST, the oldest first. `about` says in the
        audit which ones they are. The workers settle them.
        """
        events = await self._ledger.inbox_search.replay(sought)
        if events:
            detail = {"events": events, **about}
            await self._ledger.audit.add(by, "replay", None, reason, detail)
        return events

    async def assign(self, event_id: str, slug: str, by: str, reason: str = "") -> InboxEvent:
        """Assign an event that matched no link to this one, as an operator decided.

        Return the event as it is afterwards. The ledger keeps the decision before anything is
        done, so that a crash on the way only delays it. A repeated call changes nothing. Raise
        UnknownEvent, UnknownLink or NotAssignable.
        """
        event = await self._known(event_id)
        if event.state is EventState.SETTLED and event.slug == slug:
            return event
        link = await self._ledger.links.get(slug)
        if link is None:
            raise UnknownLink("the ledger does not know this link")
        await self._check_assignable(event, link)
        event = await self._ledger.inbox.assign(event_id, slug)
        if event.state is EventState.SETTLED:
            return event
        await self._note("assign", event, link.meeting_sid, by, reason, slug=slug)
        return await self._settle_now(event)

    async def _check_assignable(self, event: InboxEvent, link: Link) -> None:
        meeting = await self._ledger.meetings.get(link.meeting_sid)
        if meeting is None or meeting.workspace != event.workspace:
            raise NotAssignable("the link belongs to another workspace than the event")
        try:
            parsed = self._settler.parse(event)
        except MalformedJson:
            raise NotAssignable("the event's body was erased, or cannot be read") from None
        if parsed.kind == "other":
            raise NotAssignable("the event is not about a booking")
        of_link = await self._ledger.bookings.of_link(link.slug)
        used_by = {name for each in of_link for name in (each.sid, each.provider_id) if name}
        if used_by and used_by.isdisjoint({parsed.booking_sid, parsed.parent_sid}):
            raise NotAssignable("the link was used by another booking")
        sid = parsed.booking_sid
        known = await self._ledger.bookings.get(event.workspace, sid) if sid else None
        if known is not None and known.slug != link.slug:
            raise NotAssignable("the booking belongs to another link already")

    async def _known(self, event_id: str) -> InboxEvent:
        event = await self._ledger.inbox.get(event_id)
        if event is None:
            raise UnknownEvent("there is no event of this id in the inbox")
        return event

    async def _note(
        self, action: str, event: InboxEvent, sid: str | None, by: str, reason: str, **more: str
    ) -> None:
        await self._ledger.audit.add(by, action, sid, reason, {"event": event.id, **more})

    async def _settle_now(self, event: InboxEvent) -> InboxEvent:
        await self._settler.settle(event)
        await self._erasure.screen_settled(event.id)
        return await self._known(event.id)


def _news_of(booking: Booking) -> tuple[object, ...]:
    """Return the fields whose change is news, without those that are erased with a customer."""
    return (booking.state, booking.made_at, booking.changed_at, booking.starts_at, booking.ends_at)


def _new_event(
    workspace: str, source: EventSource, event: BookingEvent, body: bytes, identity: str
) -> NewEvent:
    return NewEvent(
        id=hashlib.sha256(f"{workspace} {identity}".encode()).hexdigest()[:32],
        workspace=workspace,
        source=source,
        event=event.name[:64],
        booking_sid=event.booking_sid,
        meeting_sid=event.meeting_sid,
        parent_sid=event.parent_sid,
        body=body,
        received_at=datetime.now(UTC),
    )
