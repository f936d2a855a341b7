"""Settle an event of the inbox: update its booking, its link, and Redis.

An event leaves the inbox only when the ledger and Redis both say what it said. Every step may
run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from pool.bookings.matcher import Match, Matcher, Mismatch
from pool.durability.recorder import Recorder
from pool.errors import (
    LedgerUnavailable,
    LinkpoolError,
    MalformedJson,
    StoreError,
    StoreUnavailable,
    UnknownWorkspace,
)
from pool.ledger import Ledger
from pool.ledger.bookings import Settled
from pool.ledger.records import ASSIGNED, EventState, InboxEvent
from pool.model.bookings import Booking, is_documented, stands, unnamed_sid
from pool.model.claims import booked_claim
from pool.model.links import Link, State
from pool.model.pools import pool_of_epoch
from pool.providers import BookingEvent, Provider
from pool.store import Store

log = structlog.get_logger()

MAX_ATTEMPTS = 10
EVENT_SECONDS = 25  # for one event, so that it cannot block those behind it
RETRY_SECONDS = 5  # doubled with each attempt, up to ten minutes
RETRY_MAX_SECONDS = 600
# An unmatched event is looked at again when it is half as old again, within these limits. An
# operator who assigns it, or another event of its booking, need not wait for that.
UNMATCHED_LEAST_SECONDS = 60
UNMATCHED_MOST_SECONDS = 86_400
Counted = Callable[[str, str, str], None]


class Settler:
    """Settles the events of the inbox."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        providers: Mapping[str, Provider],
        matcher: Matcher,
        *,
        counted: Counted,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._providers = providers
        self._matcher = matcher
        self._counted = counted

    async def settle(self, event: InboxEvent) -> None:
        """Settle one event, or note why that failed and when it is due again."""
        try:
            async with asyncio.timeout(EVENT_SECONDS):
                await self._settle(event)
        except MalformedJson as error:
            await self._ledger.inbox.finish(event.id, EventState.IGNORED, reason=str(error))
        except TimeoutError:
            await self._postpone(event, f"not settled within {EVENT_SECONDS} seconds")
        except UnknownWorkspace as error:
            # Only an operator can configure it again; until then its events must not crowd out
            # the others.
            await self._postpone(event, str(error), its_fault=False, wait=RETRY_MAX_SECONDS)
        except LedgerUnavailable as error:
            await self._postpone(event, str(error), its_fault=False)
        except StoreUnavailable as error:
            # What Redis refuses may be the event's fault; an outage is not, nor is a Redis
            # that is full, cannot write to its disk, or is a replica now.
            await self._postpone(event, str(error), its_fault=not error.is_outage)
        except LinkpoolError as error:
            await self._postpone(event, str(error))
        except Exception as error:
            log.exception("event not settled", event_id=event.id)
            await self._postpone(event, f"{type(error).__name__}: {error}"[:500])

    def parse(self, event: InboxEvent) -> BookingEvent:
        """Read an event's body. Raise MalformedJson or UnknownWorkspace."""
        provider = self._providers.get(event.workspace)
        if provider is None:
            raise UnknownWorkspace(f"workspace {event.workspace} is not configured any more")
        return provider.parse_event(event.body)

    def report(
        self, workspace: str, event: BookingEvent, slug: str, match: str | None, heard_at: datetime
    ) -> Booking:
        """Return the booking as an event describes it."""
        stood_at = event.made_at or event.changed_at or heard_at
        return Booking(
            workspace=workspace,
            sid=event.booking_sid or unnamed_sid(slug),
            slug=slug,
            state=event.state,
            starts_at=event.starts_at,
            ends_at=event.ends_at,
            time_zone=event.time_zone,
            parent_sid=event.parent_sid,
            provider_id=event.provider_id,
            manage_url=event.manage_url,
            made_at=event.made_at,
            changed_at=event.changed_at,
            heard_at=heard_at,
            stood=event.state != "incomplete",
            stood_at=stood_at if stands(event.state) else None,
            email_key=self._store.names.email_name(event.email) if event.email else None,
            match=match,
        )

    async def _postpone(
        self, event: InboxEvent, reason: str, *, its_fault: bool = True, wait: float | None = None
    ) -> None:
        doublings = event.attempts
        if not its_fault:  # such attempts are not counted; in a long outage they become rare
            age_seconds = (datetime.now(UTC) - event.received_at).total_seconds()
            doublings = max(0, int(age_seconds / RETRY_SECONDS).bit_length() - 3)
        if wait is None:
            wait = min(RETRY_MAX_SECONDS if its_fault else 60, RETRY_SECONDS * 2**doublings)
        await self._ledger.inbox.failed(
            event.id,
            reason,
            not_before=datetime.now(UTC) + timedelta(seconds=wait),
            max_attempts=MAX_ATTEMPTS,
            its_fault=its_fault,
        )

    async def _settle(self, event: InboxEvent) -> None:
        parsed = self.parse(event)
        if parsed.kind == "other":
            await self._ledger.inbox.finish(
                event.id, EventState.IGNORED, reason="not about a booking"
            )
            self._counted(event.workspace, "other", "ignored")
            return
        parsed = await self._matcher.by_one_name(event.workspace, parsed)
        match = await self._assigned(event) or await self._matcher.match(
            event.workspace, parsed, event.received_at
        )
        if isinstance(match, Mismatch) and match.is_final:
            await self._ledger.inbox.finish(event.id, EventState.IGNORED, reason=match.reason)
            self._counted(event.workspace, event_label(parsed), "ignored")
            return
        if isinstance(match, Mismatch):
            age = datetime.now(UTC) - event.received_at
            wait = min(max(age / 2, timedelta(seconds=UNMATCHED_LEAST_SECONDS)), _MOST)
            await self._ledger.inbox.finish(
                event.id,
                EventState.UNMATCHED,
                reason=match.reason,
                not_before=datetime.now(UTC) + wait,
            )
            self._counted(event.workspace, event_label(parsed), "unmatched")
            return
        await self._apply(event, parsed, match)

    async def _assigned(self, event: InboxEvent) -> Match | None:
        if event.match != ASSIGNED or event.slug is None:
            return None
        link = await self._ledger.links.get(event.slug)
        return None if link is None else Match(link, ASSIGNED)

    async def _apply(self, event: InboxEvent, parsed: BookingEvent, match: Match) -> None:
        report = self.report(event.workspace, parsed, match.link.slug, match.how, event.received_at)
        if not is_documented(report.state):
            log.warning(
                "a booking's state is not documented; it counts as standing", state=report.state
            )
        settled = await self._ledger.bookings.settle(report)
        state_before = settled.state_before
        await self._update_redis(settled, report)
        link = settled.link
        if parsed.booking_sid:
            # Events that name no link may have come first: of this booking, or of its children.
            names = [each for each in (parsed.booking_sid, parsed.provider_id) if each]
            await self._ledger.inbox.reopen_booking(event.workspace, names)
        await self._ledger.inbox.finish(
            event.id, EventState.SETTLED, slug=link.slug, match=match.how
        )
        self._counted(event.workspace, event_label(parsed), "settled")
        if link.state is State.CONSUMED and state_before not in (State.CONSUMED, State.CANCELLED):
            # If Redis dies now, only the history's count is lost; the event is settled.
            with suppress(StoreError):
                await self._store.count_booking(link.meeting_sid)

    async def _update_redis(self, settled: Settled, report: Booking) -> None:
        was_fresh = False
        sid = settled.link.meeting_sid
        # Twice at most: a claim may come between reading the ledger and updating Redis.
        for _ in range(2):
            link = settled.link
            if link.state is State.FRESH:
                # A visitor is filling in its form, although no claim of the link is known.
                await self._recorder.record(sid)
                moved = await self._ledger.links.move(
                    [link.slug], State.QUARANTINED, at=report.heard_at
                )
                pool = pool_of_epoch(sid, link.epoch)
                await self._store.stock.withdraw(pool, [link.slug] if moved else [])
                return
            if link.state not in (State.CONSUMED, State.CANCELLED):
                return  # an incomplete booking: the claim stays as it is
            claim = booked_claim(link, settled.foremost)
            pool = await self._pool_of(link)
            was_fresh |= await self._store.mark(pool, link.slug, link.customer_id, claim)
            if link.customer_id is not None or was_fresh:
                break
            await self._recorder.record(sid)
            settled = await self._ledger.bookings.settle(report)
        if was_fresh:
            log.warning("a link was booked before anyone claimed it", meeting=sid)
        if settled.link.customer_id is not None:
            await self._show_booked(settled.link, settled.link.customer_id)

    async def _show_booked(self, link: Link, customer_id: str) -> None:
        """Have a customer hold the link whose booking stands, although they hold another by now.

        Between two events of one booking that moves, or before a late one, they may have been
        given a further link. While a booking of theirs stands it would let them book twice. Nobody
        has booked it, so it is retired; if that was the one that is over now, the other comes back.
        """
        meeting = await self._ledger.meetings.get(link.meeting_sid)
        if meeting is None or meeting.after_booking == "new":
            return
        pool = self._store.pool_of(meeting, customer_id)
        held = await self._store.claim_of(pool, customer_id)
        if held is not None and (held.state == "consumed" or held.slug == link.slug):
            return
        if link.state is not State.CONSUMED:
            booked = await self._ledger.links.booked_by(link.meeting_sid, customer_id)
            if booked is None:
                return
            link = booked
        if held is not None:
            await self._recorder.record(link.meeting_sid)  # the ledger must have its claim first
            await self._ledger.links.replaced(
                held.slug, customer_id, _BOOKED_ANOTHER, at=datetime.now(UTC)
            )
        claim = booked_claim(link, await self._ledger.bookings.foremost(link))
        instead_of = held.slug if held is not None else ""
        await self._store.mark(pool, link.slug, customer_id, claim, instead_of=instead_of)

    async def _pool_of(self, link: Link) -> str:
        """Return the pool that holds the link's binding, or would hold the link itself."""
        if link.customer_id is None:
            return pool_of_epoch(link.meeting_sid, link.epoch)
        meeting = await self._ledger.meetings.get(link.meeting_sid)
        return self._store.pool_of(meeting, link.customer_id) if meeting else link.meeting_sid


_MOST = timedelta(seconds=UNMATCHED_MOST_SECONDS)
_BOOKED_ANOTHER = "the customer has booked another of their links"


def event_label(event: BookingEvent) -> str:
    """Return the event's name as a metric label, one of a few whatever the sender writes."""
    return "other" if event.kind == "other" else event.name
