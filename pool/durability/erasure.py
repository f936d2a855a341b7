"""Erasing a customer everywhere, and keeping what comes of them later from being kept.

The order of `DELETE`: record what is on its way, erase the ledger's rows (one transaction, which
leaves the stage `erasing`), drop the binding in Redis, take what is personal out of the bodies
of events, empty SQLite's log. Only then the stage goes. Whatever fails on the way, the
worker goes on from the stage, and so does the next `DELETE`.

An event tells of somebody erased if it was matched to their link, is of their booking, names
their link and no other, or has their e-mail as its own and no other customer's link. Its body is
replaced by what settling needs (Provider.redact), and its booking and e-mail are recognised from
then on, too. One that only mentions them loses its body's words once it is settled. An e-mail or
id that somebody holds a link with is that somebody's, and stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from pool.durability.recorder import Recorder
from pool.errors import LinkpoolError, MalformedJson, StillErasing, StoreError
from pool.ledger import Ledger
from pool.ledger.erased import Unfinished
from pool.ledger.forget import ERASING
from pool.ledger.records import EventState, InboxEvent, NewEvent
from pool.model.links import Link
from pool.model.marks import PSEUDONYM, Marks, packed
from pool.providers import BookingEvent, Provider
from pool.providers.redaction import texts_of
from pool.store import Store

log = structlog.get_logger()

_ROUNDS = 5  # an event may bring up a further booking or e-mail, whose events are looked for
_LOG_TRIES = 5
_LOG_WAIT_SECONDS = 0.2
_LARGE_BYTES = 16_384  # a body that is not looked through on the event loop


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be done with an event that tells of somebody erased."""

    slugs: tuple[str, ...]  # links of ours that it names
    theirs: str | None  # the erased link it belongs to; None: it only mentions them
    marks: frozenset[str]  # by which its booking and e-mail are recognised from now on
    by_email: bool = False  # nothing but the e-mail says so


class Erasure:
    """Erases customers, and recognises the erased."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        providers: Mapping[str, Provider],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._providers = providers
        self._marks: Marks = store.names.marks

    # -- erasing -----------------------------------------------------------------------

    async def forget(self, sid: str, customer_id: str) -> int:
        """Erase a customer of a meeting; return how many links they had that were to be erased.

        0 means that there is nothing to erase, and nothing was left to finish. Raises
        StoreUnavailable, LedgerUnavailable or StillErasing when something is left; what was
        begun is then finished by the workers, and a repetition goes on with it.
        """
        await self._recorder.record(sid)
        name = self._store.names.name(sid, customer_id)
        await self._ledger.links.forget(sid, customer_id, name, self._marks, self._own)
        open_ends = await self._ledger.erased.of_customer(sid, name)
        await self._finish([each for each in open_ends if each.stage == ERASING], heard=True)
        await self._ledger.erased.finish([each.slug for each in open_ends], heard=True)
        return len(open_ends)

    async def go_on(self) -> int:
        """Finish what was begun; return how many links were erased everywhere.

        For the workers: never raises for what may be better at the next time.
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
                await self._store.erasing.drop(each.meeting_sid, each.slug, each.customer_name)
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
            told = [
                await self._erase_event(event)
                async for events in self._ledger.erased.tied(slug)
                for event in events
            ]
            if not any(told):
                return

    async def mark_events(self) -> int:
        """Give events their marks that came without; return how many there were."""
        total = 0
        while unmarked := await self._ledger.erased.unmarked():
            await self._ledger.erased.mark(
                {event.id: packed(await self._told_by(event)) for event in unmarked}
            )
            total += len(unmarked)
        return total

    # -- recognising ---------------------------------------------------------------------

    async def screen(self, new: NewEvent) -> NewEvent:
        """Return an event as it may be kept: with its marks, and without what was erased.

        One that is only known by an e-mail is left for `screen_settled`: it may be another
        customer's, or a new claim of the same one may be on its way into the ledger.
        """
        told = await self._told_by(new)
        verdict = await self._judge(new, told, slug=None)
        if verdict is None or verdict.theirs is None or verdict.by_email:
            return replace(new, marks=packed(told))
        if await self._ledger.erased.keep(verdict.theirs, self._marks, set(verdict.marks)):
            await self._erase_events(verdict.theirs)  # of its booking others may have come before
        body, booking_sid, parent_sid = self._redacted(new, verdict)
        return replace(new, body=body, booking_sid=booking_sid, parent_sid=parent_sid, marks=b"")

    async def screen_settled(self, event_id: str) -> None:
        """Take what is personal out of an event that tells of somebody erased, once it is settled.

        It may have been taken in just before they were erased, or may only mention them.
        """
        event = await self._ledger.inbox.get(event_id)
        if event is None or not event.body:
            return
        # What this leaves in SQLite's log goes with the minute.
        slug = await self._erase_event(event)
        if slug is not None:
            await self._erase_events(slug)

    async def known_as(
        self, workspace: str, bookings: Sequence[BookingEvent]
    ) -> list[BookingEvent]:
        """Return what the provider's list says of bookings, those of the erased by pseudonyms."""
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
        """Redact an event if it tells of somebody erased.

        Return their link if by this event there is more to recognise them by.
        """
        told = await self._told_by(event)
        verdict = await self._judge(event, told, slug=event.slug)
        if verdict is None:
            return None
        if verdict.theirs is None and event.state is EventState.PENDING:
            return None  # it may be another's, who is found by the e-mail in it
        new = False
        if verdict.theirs is not None:
            new = await self._ledger.erased.keep(verdict.theirs, self._marks, set(verdict.marks))
        body, *sids = self._redacted(event, verdict)
        await self._ledger.erased.redact(event.id, body, *sids)
        return verdict.theirs if new else None

    async def _judge(
        self, event: NewEvent | InboxEvent, told: Mapping[str, str], *, slug: str | None
    ) -> _Verdict | None:
        """Say whether an event tells of somebody erased; None if it does not."""
        hits = await self._ledger.erased.among(list(told))
        matched = await self._ledger.erased.slugs_among([slug] if slug else [])
        if not hits and not matched:
            return None
        parsed = self._parse(event)
        links = await self._named(parsed)
        slugs = tuple(link.slug for link in links)
        theirs, by_email = next(iter(matched), None), False
        bookings, e_mail = self._own_marks(event, parsed)
        if theirs is None and slug is None:
            named = await self._ledger.erased.slugs_among(slugs)
            if booked := next((mark for mark in bookings if mark in hits), None):
                theirs = min(hits[booked])
            elif named == set(slugs) and len(named) == 1:
                theirs = slugs[0]
            elif e_mail in hits and not any(link.customer_id for link in links):
                by_email = not await self._held([told[e_mail]])
                theirs = min(hits[e_mail]) if by_email else None
        if theirs is not None:
            marks = frozenset((*bookings, e_mail)) - {""}
            return _Verdict(slugs, theirs, marks, by_email)
        mentioned = {told[mark] for mark in hits} - set(slugs)
        if mentioned <= await self._held(mentioned):
            return None
        return _Verdict(slugs, None, frozenset())

    def _own(self, event: InboxEvent) -> set[str]:
        bookings, e_mail = self._own_marks(event, self._parse(event))
        return {*bookings, e_mail} - {""}

    def _own_marks(
        self, event: NewEvent | InboxEvent, parsed: BookingEvent | None
    ) -> tuple[list[str], str]:
        """The marks of the event's booking and of the one that it belongs to, as far as they bear
        the provider's names, and of its e-mail, empty if there is none."""
        sids: tuple[str | None, ...] = (event.booking_sid, event.parent_sid)
        if parsed is not None:
            sids = (
                parsed.booking_sid or event.booking_sid,
                parsed.parent_sid or event.parent_sid,
                parsed.provider_id,
            )
        bookings = [
            self._marks.of_booking(event.workspace, sid)
            for sid in sids
            if sid is not None and not sid.startswith(PSEUDONYM)
        ]
        email = parsed.email if parsed else None
        return bookings, self._marks.of_email(email) if email else ""

    async def _named(self, parsed: BookingEvent | None) -> list[Link]:
        """The links of ours that an event names, in its order."""
        if parsed is None:
            return []
        tokens = list(dict.fromkeys([*([parsed.ref] if parsed.ref else []), *parsed.tokens]))
        found = {link.slug: link for link in await self._ledger.links.find(tokens)}
        return [found[token] for token in tokens if token in found]

    async def _held(self, texts: Iterable[str]) -> set[str]:
        return await self._ledger.erased.held([text for text in texts if text])

    async def _told_by(self, event: NewEvent | InboxEvent) -> dict[str, str]:
        """Mark → text of all that the event tells and somebody could be recognised by."""

        def work() -> dict[str, str]:
            return self._marks.told_by(texts_of(event.body))

        told = await asyncio.to_thread(work) if len(event.body) > _LARGE_BYTES else work()
        parsed = self._parse(event)
        bookings, e_mail = self._own_marks(event, parsed)
        own = dict.fromkeys(bookings, "") | {e_mail: (parsed.email or "") if parsed else ""}
        return {mark: text for mark, text in (own | told).items() if mark}

    def _parse(self, event: NewEvent | InboxEvent) -> BookingEvent | None:
        provider = self._providers.get(event.workspace)
        try:
            return provider.parse_event(event.body) if provider else None
        except MalformedJson:
            return None

    def _redacted(
        self, event: NewEvent | InboxEvent, verdict: _Verdict
    ) -> tuple[bytes, str | None, str | None]:
        def rename(sid: str) -> str:
            return sid if verdict.theirs is None else self._marks.pseudonym(event.workspace, sid)

        provider = self._providers.get(event.workspace)
        body = b""
        if provider is not None:
            body = provider.redact(event.body, slugs=verdict.slugs, rename=rename)
        booking_sid, parent_sid = event.booking_sid, event.parent_sid
        return (
            body,
            None if booking_sid is None else rename(booking_sid),
            None if parent_sid is None else rename(parent_sid),
        )
