"""From a webhook to the link it is about: receive, match, settle.

An event is in the ledger's inbox before it is answered, and leaves it only when the ledger
and Redis both say what it said. Every step may run again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from pool.erasure import Erasure
from pool.errors import (
    BadSignature,
    BodyErased,
    LedgerUnavailable,
    LinkpoolError,
    MalformedJson,
    NotAssignable,
    StoreError,
    StoreUnavailable,
    UnknownEvent,
    UnknownLink,
    UnknownWorkspace,
)
from pool.ledger import Ledger
from pool.ledger.records import ASSIGNED, EventSource, EventState, InboxEvent, NewEvent
from pool.links import Link, State
from pool.matching import Match, Matcher, Mismatch
from pool.providers import BookingEvent, Provider, Verifier
from pool.recorder import Recorder, booked_claim
from pool.store import Store

log = structlog.get_logger()

MAX_ATTEMPTS = 10
EVENT_SECONDS = 25  # for one event; it must not hold up those behind it for ever
RETRY_SECONDS = 5  # doubled with each attempt, up to ten minutes
Counted = Callable[[str, str, str], None]
_UNREADABLE = BookingEvent("other", "", None, None, None, None, (), None)


class Bookings:
    """The way of booking events, from the provider to link states."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        providers: Mapping[str, Provider],
        *,
        counted: Counted,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._providers = providers
        self._counted = counted
        self._matcher = Matcher(ledger, recorder)
        self._verifier = Verifier()
        self._erasure = Erasure(store, ledger, recorder, providers)

    # -- receiving -----------------------------------------------------------------

    async def receive(self, workspace: str, body: bytes, signatures: Sequence[str]) -> str:
        """Takes a signed webhook into the inbox; its event id, the same for a repeat.

        One that cannot be read is kept, too: a sender that is refused stops sending, and what
        it meant can be looked up. Raises UnknownWorkspace, BadSignature, RateLimited or
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
        try:
            event, outcome = provider.parse_event(body), "received"
        except MalformedJson as error:
            event, outcome = _UNREADABLE, "unreadable"
            log.warning("a signed event cannot be read", workspace=workspace, reason=str(error))
        identity = hashlib.sha256(body).hexdigest()
        kept, new = await self._ledger.inbox.add(
            await self._erasure.screen(_new_event(workspace, "webhook", event, body, identity))
        )
        self._counted(workspace, _event_label(event), outcome if new else "repeated")
        return kept.id

    async def receive_listed(self, workspace: str, event: BookingEvent, body: bytes) -> bool:
        """Takes a booking found by asking the provider, if it tells something new about a link."""
        if event.booking_sid is None or event.kind not in ("booked", "cancelled"):
            return False
        event = await self._erasure.known_as(workspace, event)
        match = await self._matcher.match(workspace, event)
        wanted = _target(event)
        if isinstance(match, Mismatch) or match.link.state in (wanted, State.CANCELLED):
            return False
        identity = hashlib.sha256(f"listed {event.booking_sid} {event.kind}".encode()).hexdigest()
        _, new = await self._ledger.inbox.add(
            await self._erasure.screen(_new_event(workspace, "reconcile", event, body, identity))
        )
        return new

    # -- settling --------------------------------------------------------------------

    async def settle_due(self, limit: int = 100) -> int:
        """Settles the events that wait and are due; how many were looked at."""
        events = await self._ledger.inbox.due(datetime.now(UTC), limit)
        for event in events:
            await self._settle_or_postpone(event)
            await self._erasure.screen_settled(event.id)
        return len(events)

    async def replay(self, event_id: str, by: str, reason: str = "") -> InboxEvent:
        """Looks at one event again, now, and notes in the audit who asked for it.

        Raises UnknownEvent or BodyErased.
        """
        event = await self._known(event_id)
        if not event.body:
            raise BodyErased("the event's body was erased, so there is nothing to replay")
        await self._note("replay", event, event.meeting_sid, by, reason)
        return await self._settle_now(await self._ledger.inbox.retry(event_id))

    async def assign(self, event_id: str, slug: str, by: str, reason: str = "") -> InboxEvent:
        """Gives an event that matched no link to this one, by a person's word; the event after.

        The ledger keeps the word before anything is done, so that a crash on the way only
        delays it. Given again it changes nothing. Raises UnknownEvent, UnknownLink or
        NotAssignable.
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
            raise NotAssignable("the link is not of the event's workspace")
        try:
            parsed = self._parse(event)
        except MalformedJson:
            raise NotAssignable("the event's body was erased, or cannot be read") from None
        if parsed.kind == "other":
            raise NotAssignable("the event is not about a booking")
        if link.booking_sid is not None and link.booking_sid != parsed.booking_sid:
            raise NotAssignable("the link was used by another booking")

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
        await self._settle_or_postpone(event)
        await self._erasure.screen_settled(event.id)
        return await self._known(event.id)

    async def _settle_or_postpone(self, event: InboxEvent) -> None:
        try:
            async with asyncio.timeout(EVENT_SECONDS):
                await self._settle(event)
        except MalformedJson as error:
            await self._ledger.inbox.finish(event.id, EventState.IGNORED, reason=str(error))
        except TimeoutError:
            await self._postpone(event, f"not settled within {EVENT_SECONDS} seconds")
        except LedgerUnavailable as error:
            await self._postpone(event, str(error), its_fault=False)
        except StoreUnavailable as error:
            # What Redis refuses may be the event's fault; an outage is not.
            await self._postpone(event, str(error), its_fault=not error.connection_lost)
        except LinkpoolError as error:
            await self._postpone(event, str(error))
        except Exception as error:
            log.exception("event not settled", event_id=event.id)
            await self._postpone(event, f"{type(error).__name__}: {error}"[:500])

    async def _postpone(self, event: InboxEvent, reason: str, *, its_fault: bool = True) -> None:
        wait = min(600, RETRY_SECONDS * 2**event.attempts)
        await self._ledger.inbox.failed(
            event.id,
            reason,
            not_before=datetime.now(UTC) + timedelta(seconds=wait),
            max_attempts=MAX_ATTEMPTS,
            its_fault=its_fault,
        )

    async def _settle(self, event: InboxEvent) -> None:
        parsed = self._parse(event)
        if parsed.kind == "other":
            await self._ledger.inbox.finish(
                event.id, EventState.IGNORED, reason="not about a booking"
            )
            self._counted(event.workspace, "other", "ignored")
            return
        match = await self._assigned(event) or await self._matcher.match(event.workspace, parsed)
        if isinstance(match, Mismatch):
            await self._ledger.inbox.finish(event.id, EventState.UNMATCHED, reason=match.reason)
            self._counted(event.workspace, _event_label(parsed), "unmatched")
            return
        await self._apply(event, parsed, match)

    async def _assigned(self, event: InboxEvent) -> Match | None:
        if event.match != ASSIGNED or event.slug is None:
            return None
        link = await self._ledger.links.get(event.slug)
        return None if link is None else Match(link, ASSIGNED)

    def _parse(self, event: InboxEvent) -> BookingEvent:
        provider = self._providers.get(event.workspace)
        if provider is None:
            raise UnknownWorkspace(f"workspace {event.workspace} is not configured any more")
        return provider.parse_event(event.body)

    async def _apply(self, event: InboxEvent, parsed: BookingEvent, match: Match) -> None:
        sid, slug = match.link.meeting_sid, match.link.slug
        was_fresh = False
        # Twice at most: a claim may slip in between reading the ledger and telling Redis.
        for _ in range(2):
            link = await self._ledger.links.settle(
                slug,
                _target(parsed),
                booking_sid=parsed.booking_sid,
                at=parsed.at or event.received_at,
                match=match.how,
            )
            was_fresh |= await self._store.mark(sid, slug, link.customer_id, booked_claim(link))
            if link.customer_id is not None or was_fresh:
                break
            await self._recorder.record(sid)
        if was_fresh:
            log.warning("a link was booked before anyone claimed it", meeting=sid)
        if parsed.booking_sid and parsed.kind == "booked":
            # A cancellation that names no link may have come first.
            await self._ledger.inbox.reopen_booking(event.workspace, parsed.booking_sid)
        await self._ledger.inbox.finish(event.id, EventState.SETTLED, slug=slug, match=match.how)
        self._counted(event.workspace, _event_label(parsed), "settled")
        if parsed.kind == "booked" and match.link.state not in (State.CONSUMED, State.CANCELLED):
            # Only the history's count is lost with a Redis that dies now; the event is settled.
            with suppress(StoreError):
                await self._store.count_booking(sid)


def _target(event: BookingEvent) -> State:
    return State.CANCELLED if event.kind == "cancelled" else State.CONSUMED


def _event_label(event: BookingEvent) -> str:
    """The event's name as a label: one of a few, whatever the sender writes."""
    return "other" if event.kind == "other" else event.name


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
        body=body,
        received_at=datetime.now(UTC),
    )
