"""Recognise events that are about erased customers, and redact them.

An event is about an erased customer if it was matched to their link, concerns their booking, names
their link and no other, or has their e-mail and names no other customer's link. Its body is reduced
to what settling needs (Provider.redact), and its booking and e-mail are recognised from then on,
too. An event that only mentions erased customers loses its body's words once it is settled. An
e-mail or id that belongs to a customer who holds a link stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pool.errors import MalformedJson
from pool.ledger import Ledger
from pool.ledger.records import InboxEvent, NewEvent
from pool.model.links import Link
from pool.model.marks import PSEUDONYM, Marks
from pool.providers import BookingEvent, Provider
from pool.providers.redaction import texts_of

_LARGE_BYTES = 16_384  # larger bodies are searched in a thread, not on the event loop


@dataclass(frozen=True, slots=True)
class Verdict:
    """The treatment of an event that concerns or mentions erased customers."""

    slugs: tuple[str, ...]  # links of ours that it names
    theirs: str | None  # the erased link it belongs to; None: it only mentions them
    marks: frozenset[str]  # by which its booking and e-mail are recognised from now on
    by_email: bool = False  # only the e-mail says that it is theirs


class ErasedEvents:
    """Recognises events of erased customers by their marks. It changes nothing."""

    def __init__(self, ledger: Ledger, providers: Mapping[str, Provider], marks: Marks) -> None:
        self._ledger = ledger
        self._providers = providers
        self._marks = marks

    async def marks_of(self, event: NewEvent | InboxEvent) -> dict[str, str]:
        """Return marks of all that could identify a customer in an event, each with its text."""

        def work() -> dict[str, str]:
            return self._marks.in_texts(texts_of(event.body))

        found = await asyncio.to_thread(work) if len(event.body) > _LARGE_BYTES else work()
        parsed = self._parse(event)
        own = dict.fromkeys(self._booking_marks(event, parsed), "")
        if parsed is not None and parsed.email:
            own |= dict.fromkeys(self._email_marks(parsed), parsed.email)
        return own | found

    def own_marks(self, event: InboxEvent) -> set[str]:
        """Return the marks to keep of the bookings and the e-mail that an event is about."""
        return self._kept_marks(event, self._parse(event))

    async def judge(
        self, event: NewEvent | InboxEvent, marks: Mapping[str, str], *, slug: str | None
    ) -> Verdict | None:
        """Return a verdict if an event with these marks is about erased customers or mentions them.

        `slug` is the link that the event was matched to. Return None if the event may stay as it
        is.
        """
        hits = await self._ledger.erased.among(list(marks))
        matched = await self._ledger.erased.slugs_among([slug] if slug else [])
        if not hits and not matched:
            return None
        parsed = self._parse(event)
        links = await self._named(parsed)
        slugs = tuple(link.slug for link in links)
        theirs, by_email = next(iter(matched), None), False
        if theirs is None and slug is None:
            named = await self._ledger.erased.slugs_among(slugs)
            bookings, e_mails = self._booking_marks(event, parsed), self._email_marks(parsed)
            if booked := next((mark for mark in bookings if mark in hits), None):
                theirs = min(hits[booked])
            elif named == set(slugs) and len(named) == 1:
                theirs = slugs[0]
            elif not any(link.customer_id for link in links) and (
                e_mail := next((mark for mark in e_mails if mark in hits), None)
            ):
                by_email = not await self._held([marks[e_mail]])
                theirs = min(hits[e_mail]) if by_email else None
        if theirs is not None:
            own = frozenset(self._kept_marks(event, parsed))
            return Verdict(slugs, theirs, own, by_email)
        mentioned = {marks[mark] for mark in hits} - set(slugs)
        if mentioned <= await self._held(mentioned):
            return None
        return Verdict(slugs, None, frozenset())

    def redacted(
        self, event: NewEvent | InboxEvent, verdict: Verdict
    ) -> tuple[bytes, str | None, str | None]:
        """Return the body, the booking's SID and its parent's as they may be kept."""

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

    def _booking_marks(
        self, event: NewEvent | InboxEvent, parsed: BookingEvent | None
    ) -> list[str]:
        """Return the marks of the event's booking and its parent.

        A SID that is a pseudonym already has no mark.
        """
        sids: tuple[str | None, ...] = (event.booking_sid, event.parent_sid)
        if parsed is not None:
            sids = (
                parsed.booking_sid or event.booking_sid,
                parsed.parent_sid or event.parent_sid,
                parsed.provider_id,
            )
        return [
            self._marks.of_booking(event.workspace, sid)
            for sid in sids
            if sid is not None and not sid.startswith(PSEUDONYM)
        ]

    def _email_marks(self, parsed: BookingEvent | None) -> list[str]:
        """Return the marks by which the event's e-mail may be known."""
        if parsed is None or not parsed.email:
            return []
        return [self._marks.of_email(parsed.email), self._marks.of_email_before(parsed.email)]

    def _kept_marks(self, event: NewEvent | InboxEvent, parsed: BookingEvent | None) -> set[str]:
        kept = set(self._booking_marks(event, parsed))
        if parsed is not None and parsed.email:
            kept |= self._marks.kept_of_email(parsed.email)
        return kept

    async def _named(self, parsed: BookingEvent | None) -> list[Link]:
        """Return our links that an event names, in its order."""
        if parsed is None:
            return []
        tokens = parsed.candidates
        found = {link.slug: link for link in await self._ledger.links.find(tokens)}
        return [found[token] for token in tokens if token in found]

    async def _held(self, texts: Iterable[str]) -> set[str]:
        return await self._ledger.erased.held([text for text in texts if text])

    def _parse(self, event: NewEvent | InboxEvent) -> BookingEvent | None:
        provider = self._providers.get(event.workspace)
        try:
            return provider.parse_event(event.body) if provider else None
        except MalformedJson:
            return None
