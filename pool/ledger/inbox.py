"""Keep verified events in the inbox, with their outcomes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Row,
    Select,
    Update,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    update,
)

from pool.errors import NotAssignable, UnknownEvent
from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.in_order import in_order
from pool.ledger.records import ASSIGNED, EventState, InboxEvent, NewEvent
from pool.ledger.tables import inbox

_Events = list[InboxEvent]  # Inbox.list hides the builtin
_STATE = list(inbox.c.keys()).index("state")
_FIELDS = len(fields(InboxEvent))
_ERROR_MAX_CHARACTERS = 1_000


class Inbox:
    """The events of bookings. A repeat of an event is the same event."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, event: NewEvent) -> tuple[InboxEvent, bool]:
        """Keep an event. Return it as it is kept, and True if it is new.

        A repeat changes nothing but `seen`, whatever the outcome of the first.
        """
        values: dict[str, Any] = asdict(event) | {
            "event": storable(event.event),
            "booking_sid": _storable(event.booking_sid),
            "meeting_sid": _storable(event.meeting_sid),
            "parent_sid": _storable(event.parent_sid),
            "state": EventState.PENDING,
            "reason": "",
            "attempts": 0,
            "seen": 1,
        }
        insert = self._database.insert(inbox).values(values)
        statement = insert.on_conflict_do_update(
            index_elements=[inbox.c.id], set_={"seen": inbox.c.seen + 1}
        ).returning(*inbox.c)
        [row] = await self._database.changed(statement)
        kept = event_of(row)
        return kept, kept.seen == 1

    async def get(self, event_id: str) -> InboxEvent | None:
        """Return the event of this id, or None if there is none."""
        rows = await self._database.rows(select(inbox).where(inbox.c.id == event_id))
        return event_of(rows[0]) if rows else None

    async def due(self, now: datetime, limit: int = 100) -> _Events:
        """Return the pending events whose `not_before` has passed at `now`, the oldest first."""
        return await self._list(
            select(inbox)
            .where(
                inbox.c.state == EventState.PENDING,
                or_(inbox.c.not_before.is_(None), inbox.c.not_before <= now),
            )
            .order_by(inbox.c.received_at, inbox.c.id)
            .limit(limit)
        )

    async def list(self, state: str | None = None, *, limit: int = 100) -> _Events:
        """Return the latest events, the newest first: all, or those of a state."""
        statement = select(inbox)
        if state is not None:
            statement = statement.where(inbox.c.state == state)
        order = (inbox.c.received_at.desc(), inbox.c.id)
        return await self._list(statement.order_by(*order).limit(limit))

    async def of_link(self, slug: str, booking_sid: str | None) -> _Events:
        """Return the events matched to a link, and unmatched ones that name its booking."""
        statement = select(inbox).where(inbox.c.slug == slug)
        if booking_sid is not None:
            unmatched = select(inbox).where(
                inbox.c.state == EventState.UNMATCHED, inbox.c.booking_sid == booking_sid
            )
            return await self._list(statement) + await self._list(unmatched.limit(100))
        return await self._list(statement)

    async def count(self, state: str) -> int:
        """Return how many events are in this state."""
        statement = select(func.count()).select_from(inbox).where(inbox.c.state == state)
        [(count,)] = await self._database.rows(statement)
        return int(count)

    async def finish(
        self,
        event_id: str,
        outcome: EventState,
        *,
        slug: str | None = None,
        match: str | None = None,
        reason: str = "",
        not_before: datetime | None = None,
    ) -> None:
        """Note the outcome of an event. An unmatched one is tried again at `not_before`.

        A settled event stays settled: another worker's later and lesser outcome changes nothing.
        Raise UnknownEvent.
        """
        changed = await self._database.change(
            update(inbox)
            .where(inbox.c.id == event_id, inbox.c.state != EventState.SETTLED)
            .values(
                state=outcome,
                slug=_storable(slug),
                match=match,
                reason=storable(reason),
                settled_at=datetime.now(UTC),
                not_before=not_before,
            )
        )
        if not changed and await self.get(event_id) is None:
            raise UnknownEvent(f"there is no event {event_id}")

    async def failed(
        self,
        event_id: str,
        error: str,
        *,
        not_before: datetime,
        max_attempts: int = 10,
        its_fault: bool = True,
    ) -> int:
        """Note that settling a pending event failed. Return the number of failures so far.

        It is due again at `not_before`, or dead after `max_attempts`. A failure that was not
        the event's fault does not count. Raise UnknownEvent if no such event is pending.
        """
        attempts = inbox.c.attempts + int(its_fault)
        statement = (
            update(inbox)
            .where(inbox.c.id == event_id, inbox.c.state == EventState.PENDING)
            .values(
                attempts=attempts,
                last_error=storable(error)[:_ERROR_MAX_CHARACTERS],
                not_before=not_before,
                state=case((attempts >= max_attempts, EventState.DEAD), else_=inbox.c.state),
            )
            .returning(inbox.c.attempts)
        )
        rows = await self._database.changed(statement)
        if not rows:
            raise UnknownEvent(f"there is no pending event {event_id}")
        return int(rows[0].attempts)

    async def retry(self, event_id: str) -> InboxEvent:
        """Make an event pending again, due at once, whatever became of it. Return it.

        Raise UnknownEvent.
        """
        statement = reopened(update(inbox).where(inbox.c.id == event_id)).returning(*inbox.c)
        rows = await self._database.changed(statement)
        if not rows:
            raise UnknownEvent(f"there is no event {event_id}")
        return event_of(rows[0])

    async def retry_dead(self) -> int:
        """Make every dead event pending again, due at once.

        Return how many. Events whose body was erased stay dead, since nothing is left to settle.
        """
        dead = (inbox.c.state == EventState.DEAD) & (func.length(inbox.c.body) > 0)
        return await self._database.change(
            reopened(update(inbox).where(in_order(inbox.c.id, dead)))
        )

    async def assign(self, event_id: str, slug: str) -> InboxEvent:
        """Make an event pending again, due at once, as assigned to this link by a person.

        An event that is settled with this very link is left as it is. Return the event. Raise
        NotAssignable if it belongs to another link by now, and UnknownEvent.
        """
        statement = (
            reopened(update(inbox))
            .where(
                inbox.c.id == event_id,
                inbox.c.state != EventState.SETTLED,
                or_(inbox.c.slug.is_(None), inbox.c.slug == storable(slug)),
            )
            .values(slug=storable(slug), match=ASSIGNED, reason="")
            .returning(*inbox.c)
        )
        rows = await self._database.changed(statement)
        kept = event_of(rows[0]) if rows else await self.get(event_id)
        if kept is None:
            raise UnknownEvent(f"there is no event {event_id}")
        if kept.slug != slug:
            raise NotAssignable("the event belongs to another link already")
        return kept

    async def reopen_unmatched(self, now: datetime, limit: int = 100) -> int:
        """Make unmatched events pending again whose `not_before` has passed. Return how many.

        The events that waited longest come first.
        """
        waiting = (
            select(inbox.c.id)
            .where(
                inbox.c.state == EventState.UNMATCHED,
                or_(inbox.c.not_before.is_(None), inbox.c.not_before <= now),
            )
            .order_by(inbox.c.settled_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return await self._database.change(reopened(update(inbox).where(inbox.c.id.in_(waiting))))

    async def reopen_booking(self, workspace: str, names: Collection[str]) -> int:
        """Make unmatched events of a booking and of its children pending again. Return how many.

        This is for events that came before the report of the booking that names the link.
        """
        stored = [storable(name) for name in names]
        theirs = and_(
            inbox.c.state == EventState.UNMATCHED,
            inbox.c.workspace == workspace,
            or_(
                self._database.among(inbox.c.booking_sid, stored),
                self._database.among(inbox.c.parent_sid, stored),
            ),
        )
        return await self._database.change(
            reopened(update(inbox).where(in_order(inbox.c.id, theirs)))
        )

    async def _list(self, statement: Select[Any]) -> _Events:
        return [event_of(row) for row in await self._database.rows(statement)]


def has_mark(database: Database, mark: str) -> ColumnElement[bool]:
    """Return the condition that an event has this mark, for which its marks are searched."""
    place = func.instr if database.sqlite_path is not None else func.pg_catalog.position
    return place(inbox.c.marks, literal(bytes.fromhex(mark), LargeBinary)) > 0


def reopened(statement: Update) -> Update:
    """Return a statement that makes events pending again, due at once."""
    return statement.values(state=EventState.PENDING, attempts=0, not_before=None, last_error=None)


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def event_of(row: Row[Any]) -> InboxEvent:
    """Return the event of a row that holds all columns of the inbox."""
    values = list(row)[:_FIELDS]
    values[_STATE] = EventState(values[_STATE])
    return InboxEvent(*values)
