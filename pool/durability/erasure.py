"""Erase a customer everywhere, and screen the events that come in about them later.

The order of `DELETE`: record what is on its way, erase the ledger's rows (one transaction, which
leaves the stage `erasing`), drop the binding in Redis, take what is personal out of the bodies of
events, empty SQLite's log. The stage is removed last. If a step fails, the worker continues from
the stage, and so does the next `DELETE`. pool/durability/erased_events.py says which events are
about erased customers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from pool.durability.erased_events import ErasedEvents
from pool.durability.recorder import Recorder
from pool.errors import LinkpoolError, StillErasing, StoreError
from pool.ledger import Ledger
from pool.ledger.erased import Unfinished
from pool.ledger.forget import ERASING
from pool.ledger.records import EventState, InboxEvent, NewEvent
from pool.model.marks import Marks, packed
from pool.providers import BookingEvent, Provider
from pool.store import Store

log = structlog.get_logger()

_ROUNDS = 5  # an event may reveal a further booking or e-mail, whose events are then searched for
_LOG_TRIES = 5
_LOG_WAIT_SECONDS = 0.2


class Erasure:
    """Erases customers, and screens events for what was erased."""

    def __init__(
        self, store: Store, ledger: Ledger, recorder: Recorder, providers: Mapping[str, Provider]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._marks: Marks = store.names.marks
        self._events = ErasedEvents(ledger, providers, self._marks)

    # -- erasing -----------------------------------------------------------------------

    async def forget(self, sid: str, customer_id: str) -> int:
        """Erase a customer of a meeting. Return the number of their links that had to be erased.

        0 means that there was nothing to erase, and no erasure to finish. Raise StoreUnavailable,
        LedgerUnavailable or StillErasing if something is left to erase; the workers then finish
        it, and so does a repeated call.
        """
        await self._recorder.record(sid)
        await self._store.set_aside.blank(sid, customer_id)
        name = self._store.names.name(sid, customer_id)
        await self._ledger.links.forget(sid, customer_id, name, self._marks, self._events.own_marks)
        open_ends = await self._ledger.erased.of_customer(sid, name)
        await self._finish([each for each in open_ends if each.stage == ERASING], heard=True)
        await self._ledger.erased.finish([each.slug for each in open_ends], heard=True)
        return len(open_ends)

    async def go_on(self) -> int:
        """Finish what was begun. Return the number of links that were erased everywhere.

        The workers call this. Log a failure that the next run may overcome instead of raising it.
        """
        done = 0
        for each in await self._ledger.erased.unfinished():
            try:
                await self._finish([each], heard=False)
                done += 1
            except LinkpoolError as error:
                log.warning(
                    "not erased everywhere yet", meeting=each.meeting_sid, reason=str(error)
                )
        return done

    async def _finish(self, some: list[Unfinished], *, heard: bool) -> None:
        if not some:
            return
        problem: StoreError | None = None
        for each in some:
            try:
                meeting = await self._ledger.meetings.get(each.meeting_sid)
                name = each.customer_name
                pool = meeting.pool_of(name) if meeting is not None else each.meeting_sid
                await self._store.erasing.drop(pool, each.slug, name)
            except StoreError as error:
                problem = error  # the events are erased all the same
        await self.mark_events()
        for each in some:
            await self._erase_events(each.slug)
        if not await self._clean_file():
            problem = problem or StillErasing("the ledger's file is in use; it is cleaned later")
        if problem is not None:
            raise problem
        await self._ledger.erased.finish([each.slug for each in some], heard=heard)

    async def _clean_file(self) -> bool:
        for _ in range(_LOG_TRIES):
            if await self._ledger.erased.clean_file():
                return True
            await asyncio.sleep(_LOG_WAIT_SECONDS)
        return False

    async def _erase_events(self, slug: str) -> None:
        await self._ledger.erased.keep(slug, self._marks, {self._marks.of_text(slug)})
        for _ in range(_ROUNDS):
            found_more = [
                await self._erase_event(event)
                async for events in self._ledger.erased.tied(slug)
                for event in events
            ]
            if not any(found_more):
                return

    async def mark_events(self) -> int:
        """Add the marks to events that were kept without them. Return the number of such events."""
        total = 0
        while unmarked := await self._ledger.erased.unmarked():
            await self._ledger.erased.mark(
                {event.id: packed(await self._events.marks_of(event)) for event in unmarked}
            )
            total += len(unmarked)
        return total

    # -- screening -----------------------------------------------------------------------

    async def screen(self, new: NewEvent) -> NewEvent:
        """Return an event as it may be kept: with its marks, and without what was erased.

        An event that only its e-mail identifies is left for `screen_settled`: it may be another
        customer's, or a new claim of the same customer may be on its way into the ledger.
        """
        marks = await self._events.marks_of(new)
        verdict = await self._events.judge(new, marks, slug=None)
        if verdict is None or verdict.theirs is None or verdict.by_email:
            return replace(new, marks=packed(marks))
        if await self._ledger.erased.keep(verdict.theirs, self._marks, set(verdict.marks)):
            await self._erase_events(verdict.theirs)  # earlier events of its booking may be kept
        body, booking_sid, parent_sid = self._events.redacted(new, verdict)
        return replace(new, body=body, booking_sid=booking_sid, parent_sid=parent_sid, marks=b"")

    async def screen_settled(self, event_id: str) -> None:
        """Remove what is personal from a settled event that is about an erased customer.

        It may have arrived just before they were erased, or may only mention them.
        """
        event = await self._ledger.inbox.get(event_id)
        if event is None or not event.body:
            return
        # The task `expire` empties SQLite's log, which may still hold the old body, every minute.
        slug = await self._erase_event(event)
        if slug is not None:
            await self._erase_events(slug)

    async def known_as(
        self, workspace: str, bookings: Sequence[BookingEvent]
    ) -> list[BookingEvent]:
        """Return bookings from the provider's list, with pseudonyms for those of the erased."""
        named = [
            {
                sid
                for sid in (each.booking_sid, each.provider_id, each.parent_sid)
                if sid is not None
            }
            for each in bookings
        ]
        marks = {sid: self._marks.of_booking(workspace, sid) for sid in set().union(*named)}
        erased = await self._ledger.erased.among(list(marks.values()))
        return [
            self._renamed(workspace, each) if any(marks[sid] in erased for sid in sids) else each
            for each, sids in zip(bookings, named, strict=True)
        ]

    def _renamed(self, workspace: str, booking: BookingEvent) -> BookingEvent:
        def rename(sid: str | None) -> str | None:
            return None if sid is None else self._marks.pseudonym(workspace, sid)

        return replace(
            booking,
            booking_sid=rename(booking.booking_sid),
            provider_id=rename(booking.provider_id),
            parent_sid=rename(booking.parent_sid),
            email=None,
            time_zone=None,
            manage_url=None,
        )

    async def _erase_event(self, event: InboxEvent) -> str | None:
        """Redact an event if it is about an erased customer, or mentions one.

        Return their link if the event added marks by which to recognise them.
        """
        marks = await self._events.marks_of(event)
        verdict = await self._events.judge(event, marks, slug=event.slug)
        if verdict is None:
            return None
        if verdict.theirs is None and event.state is EventState.PENDING:
            return None  # it may be another customer's, whom its e-mail will identify
        new = False
        if verdict.theirs is not None:
            new = await self._ledger.erased.keep(verdict.theirs, self._marks, set(verdict.marks))
        body, *sids = self._events.redacted(event, verdict)
        await self._ledger.erased.redact(event.id, body, *sids)
        return verdict.theirs if new else None
