"""Search the inbox: filters, what a text may name, pages, and the replay of all that is found.

Lists come without bodies, which may have 256 KiB each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Select, false, func, literal, or_, select, update

from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.in_order import in_order
from pool.ledger.inbox import event_of, has_mark, reopened
from pool.ledger.records import EventState, InboxEvent
from pool.ledger.tables import bookings, inbox, links
from pool.model.emails import kept_forms

REPLAY_MOST = 1_000  # events that one request makes pending again
_NAMED_MOST = 20  # links of one customer that a search goes by
_WAITING = (EventState.PENDING, EventState.UNMATCHED, EventState.DEAD)
_RECENT = 10  # webhooks of a workspace whose delay is looked at


@dataclass(frozen=True, slots=True)
class Named:
    """The things that a text names. An event matches if it is, or is about, one of these."""

    event_ids: tuple[str, ...] = ()
    booking_sids: tuple[str, ...] = ()
    slugs: tuple[str, ...] = ()
    # An e-mail, as the bookings keep it and as the events' marks do: both are keyed hashes.
    email_keys: tuple[str, ...] = ()
    email_marks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(
            (self.event_ids, self.booking_sids, self.slugs, self.email_keys, self.email_marks)
        )


@dataclass(frozen=True, slots=True)
class Sought:
    """The events to find. None and empty values match everything."""

    state: EventState | None = None
    workspace: str = ""
    meeting_sid: str = ""
    event: str = ""  # the provider's name of its kind
    since: datetime | None = None
    until: datetime | None = None  # received before this
    named: Named | None = None

    def before(self, moment: datetime) -> Sought:
        """Return the same search, restricted to events received before this time."""
        return replace(self, until=min(self.until or moment, moment))


class InboxSearch:
    """A search for events, with pages and counts that are bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, sought: Sought, among: Collection[str] | None, *, limit: int, offset: int = 0
    ) -> list[InboxEvent]:
        """Return events without their bodies, the newest first.

        With `among`, only events of these meetings are found: the meeting of the link that an event
        was matched to counts, or without a link the meeting that the event names.
        """
        statement = self._chosen(select(*_WITHOUT_BODY), sought, among)
        order = (inbox.c.received_at.desc(), inbox.c.id)
        rows = await self._database.rows(statement.order_by(*order).limit(limit).offset(offset))
        return [event_of(row) for row in rows]

    async def count(self, sought: Sought, among: Collection[str] | None, *, most: int) -> int:
        """Return how many events are found, at most one more than `most`."""
        found = self._chosen(select(inbox.c.id), sought, among).limit(most + 1).subquery()
        [(count,)] = await self._database.rows(select(func.count()).select_from(found))
        return int(count)

    async def replay(self, sought: Sought, *, most: int = REPLAY_MOST) -> int:
        """Make the found events pending again, due at once, the oldest first. Return how many.

        Take at most `most` of them. Events whose body was erased stay as they are, since nothing is
        left to settle.
        """
        readable = self._chosen(select(inbox.c.id), sought, None).where(
            func.length(inbox.c.body) > 0
        )
        oldest = readable.order_by(inbox.c.received_at, inbox.c.id).limit(most)
        rows = await self._database.rows(oldest)
        ids = sorted(event_id for (event_id,) in rows)
        if not ids:
            return 0
        return await self._database.change(
            reopened(update(inbox)).where(
                in_order(inbox.c.id, self._database.among(inbox.c.id, ids))
            )
        )

    async def named(
        self, text: str, sids: Collection[str], *, email_key: str = "", email_mark: str = ""
    ) -> Named:
        """Return what the whole text names in the inbox and among the links of these meetings.

        It may be an event's id, a booking's SID, a link's slug, a customer's id, or an e-mail;
        for that, its hashes are given. A customer's links are found, the latest of them.
        """
        text = storable(text)
        events = await self._ones(select(inbox.c.id).where(inbox.c.id == text.lower()))
        heard = select(inbox.c.booking_sid).where(inbox.c.booking_sid == text).limit(1)
        slugs = await self._slugs(links.c.slug == text, sids)
        slugs += await self._slugs(links.c.customer_id == text, sids)
        known: Sequence[str] = ()
        marks: Sequence[str] = ()
        if email_key:
            slugs += await self._slugs(links.c.email_key.in_(sorted(kept_forms(text))), sids)
            known = await self._ones(
                select(bookings.c.email_key).where(bookings.c.email_key == email_key).limit(1)
            )
            marks = (email_mark,) if await self._is_marked(email_mark) else ()
        return Named(
            tuple(events),
            tuple(await self._ones(heard)),
            tuple(dict.fromkeys(slugs))[:_NAMED_MOST],
            tuple(known),
            tuple(marks),
        )

    async def kinds(self) -> list[str]:
        """Return the names of the kinds among the latest events, in alphabetic order."""
        latest = select(inbox.c.event).order_by(inbox.c.received_at.desc()).limit(1_000).subquery()
        return sorted(await self._ones(select(latest.c.event).distinct()))

    async def latest_webhooks(self, workspace: str) -> list[InboxEvent]:
        """Return the last few webhooks of a workspace, with their bodies, the newest first."""
        statement = (
            select(inbox)
            .where(inbox.c.workspace == workspace, inbox.c.source == "webhook")
            .order_by(inbox.c.received_at.desc())
            .limit(_RECENT)
        )
        return [event_of(row) for row in await self._database.rows(statement)]

    def _chosen(
        self, statement: Select[Any], sought: Sought, among: Collection[str] | None
    ) -> Select[Any]:
        if among is not None or sought.meeting_sid:
            matched = inbox.outerjoin(links, links.c.slug == inbox.c.slug)
            owner = func.coalesce(links.c.meeting_sid, inbox.c.meeting_sid)
            statement = statement.select_from(matched)
            if among is not None:
                statement = statement.where(self._database.among(owner, among))
            if sought.meeting_sid:
                statement = statement.where(owner == storable(sought.meeting_sid))
        if sought.state is not None:
            statement = statement.where(inbox.c.state == sought.state)
        if sought.workspace:
            statement = statement.where(inbox.c.workspace == storable(sought.workspace))
        if sought.event:
            statement = statement.where(inbox.c.event == storable(sought.event))
        if sought.since is not None:
            statement = statement.where(inbox.c.received_at >= sought.since)
        if sought.until is not None:
            statement = statement.where(inbox.c.received_at < sought.until)
        if sought.named is not None:
            statement = statement.where(self._is_one_of(sought.named))
        return statement

    def _is_one_of(self, named: Named) -> ColumnElement[bool]:
        among = self._database.among
        ways: list[ColumnElement[bool]] = [false()]
        if named.event_ids:
            ways.append(among(inbox.c.id, named.event_ids))
        if named.booking_sids:
            ways.append(among(inbox.c.booking_sid, [storable(each) for each in named.booking_sids]))
        if named.slugs:
            ways.append(among(inbox.c.slug, [storable(each) for each in named.slugs]))
        if named.email_keys:
            of_person = among(bookings.c.email_key, named.email_keys)
            ways.append(inbox.c.booking_sid.in_(select(bookings.c.sid).where(of_person)))
        ways.extend(self._waits_and_holds(mark) for mark in named.email_marks)
        return or_(*ways)

    def _waits_and_holds(self, mark: str) -> ColumnElement[bool]:
        """Return the condition that an event is not settled and has this mark.

        To find a mark, all of these events are read. Settled ones are found by their booking.
        """
        return inbox.c.state.in_(_WAITING) & has_mark(self._database, mark)

    async def _is_marked(self, mark: str) -> bool:
        found = select(inbox.c.id).where(self._waits_and_holds(mark)).limit(1)
        return bool(await self._database.rows(found))

    async def _slugs(self, condition: ColumnElement[bool], sids: Collection[str]) -> list[str]:
        here = self._database.among(links.c.meeting_sid, sids)
        statement = select(links.c.slug).where(condition, here)
        return await self._ones(statement.order_by(links.c.claimed_at.desc()).limit(_NAMED_MOST))

    async def _ones(self, statement: Select[Any]) -> list[str]:
        return [value for (value,) in await self._database.rows(statement)]


_WITHOUT_BODY = [
    literal(b"", LargeBinary).label("body") if column is inbox.c.body else column
    for column in inbox.c
]
