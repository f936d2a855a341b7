"""Forget a customer: erase their data so that it stays erased.

This is the first step, in one transaction: it erases the rows and writes a stage, from which
pool/durability/erasure.py goes on until nothing is left anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime

from sqlalchemy import Connection, Text, case, cast, false, func, null, or_, select, update

from pool.ledger.bookings import erase as erase_bookings
from pool.ledger.bookings import rename
from pool.ledger.database import Database
from pool.ledger.in_order import in_order
from pool.ledger.inbox import event_of
from pool.ledger.records import EventState, Forgotten, InboxEvent
from pool.ledger.rows import SELECT_LINKS, links_of
from pool.ledger.tables import audit, bookings, erased_marks, forgotten, inbox, links, literal_state
from pool.model.bookings import named_sid
from pool.model.links import Link, State
from pool.model.marks import Marks

# The marks of an event's booking and e-mail.
OwnMarks = Callable[[InboxEvent], Collection[str]]
ERASING = "erasing"  # the stage of a link that is not erased everywhere yet
UNHEARD = "unheard"  # erased everywhere, but no caller was informed yet
_ERASED = "(erased)"


async def forget(
    database: Database,
    sid: str,
    customer_id: str,
    customer_name: str,
    marks: Marks,
    own_marks: OwnMarks,
) -> list[Link]:
    """Erase a customer of a meeting, as Links.forget() says."""
    look = (
        SELECT_LINKS.where(links.c.meeting_sid == sid, links.c.customer_id == customer_id)
        .order_by(links.c.slug)
        .with_for_update()
    )

    def erase(connection: Connection) -> list[Link]:
        before = links_of(connection.execute(look).all())
        if not before:
            return []
        now = datetime.now(UTC)
        connection.execute(
            update(links)
            .where(database.among(links.c.slug, [link.slug for link in before]))
            .values(
                customer_id=null(),
                email=null(),
                email_key=null(),
                metadata=null(),
                forgotten_at=now,
                state=case(
                    (links.c.state == literal_state(State.CLAIMED), literal_state(State.LAPSED)),
                    else_=links.c.state,
                ),
            )
        )
        erase_bookings(database, connection, [link.slug for link in before])
        names = [
            {
                "slug": link.slug,
                "meeting_sid": sid,
                "customer_name": customer_name,
                "forgotten_at": now,
                "stage": ERASING,
            }
            for link in before
        ]
        connection.execute(database.insert(forgotten).on_conflict_do_nothing(), names)
        for link in before:
            own = {marks.of_text(link.slug), *marks.of_customer(customer_id)}
            if link.email is not None:
                own |= marks.kept_of_email(link.email)
            own |= _blank_settled(connection, link.slug, marks, own_marks)
            keep_marks(database, connection, link.slug, own)
            rename_booking(database, connection, link.slug, marks)
        written = [customer_id, *(link.email for link in before if link.email)]
        _erase_from_audit(connection, [text for text in written if any(marks.of_customer(text))])
        return before

    return await database.write(erase)


def _blank_settled(
    connection: Connection, slug: str, marks: Marks, own_marks: OwnMarks
) -> set[str]:
    """Blank the events that settled this link. Return the marks by which they are recognised.

    Events that wait are left alone, since they must still be settled.
    """
    settled = (inbox.c.slug == slug) & (inbox.c.state == EventState.SETTLED)
    events = [event_of(row) for row in connection.execute(select(inbox).where(settled)).all()]
    blank = update(inbox).where(in_order(inbox.c.id, settled))
    connection.execute(blank.values(body=b"", marks=b"", last_error=None))
    for workspace, sid in {(each.workspace, each.booking_sid) for each in events}:
        if sid is not None:
            named = settled & (inbox.c.workspace == workspace) & (inbox.c.booking_sid == sid)
            renamed = update(inbox).where(named).values(booking_sid=marks.pseudonym(workspace, sid))
            connection.execute(renamed)
    return {mark for event in events for mark in own_marks(event)}


def keep_marks(database: Database, connection: Connection, slug: str, marks: set[str]) -> int:
    """Keep these marks as those of a forgotten link. Return how many are new."""
    now = datetime.now(UTC)
    rows = [{"slug": slug, "mark": mark, "erased_at": now} for mark in sorted(marks)]
    if not rows:
        return 0
    new = database.insert(erased_marks).values(rows).on_conflict_do_nothing()
    return len(connection.execute(new.returning(erased_marks.c.mark)).all())


def rename_booking(database: Database, connection: Connection, slug: str, marks: Marks) -> None:
    """Replace the SIDs of the bookings that used a forgotten link by pseudonyms.

    Later events of a booking are recognised by its mark, and find the link by the pseudonym.
    """
    names = (bookings.c.sid, bookings.c.parent_sid, bookings.c.provider_id)
    rows = connection.execute(select(bookings.c.workspace, *names).where(bookings.c.slug == slug))
    named_by = {(workspace, name) for workspace, *known_as in rows for name in known_as if name}
    for workspace, sid in sorted(named_by):
        pseudonym = marks.pseudonym(workspace, sid)
        if pseudonym == sid or named_sid(sid) is None:
            continue
        keep_marks(database, connection, slug, {marks.of_booking(workspace, sid)})
        connection.execute(
            update(links)
            .where(links.c.slug == slug, links.c.booking_sid == sid)
            .values(booking_sid=pseudonym)
        )
        for column in (
            inbox.c.booking_sid,
            inbox.c.parent_sid,
            bookings.c.parent_sid,
            bookings.c.provider_id,
        ):
            named = (column.table.c.slug == slug) & (column == sid)
            if column.table is inbox:  # bookings are protected by their link's lock
                named = in_order(inbox.c.id, named)
            connection.execute(update(column.table).where(named).values({column: pseudonym}))
        rename(connection, workspace, sid, pseudonym)


def _erase_from_audit(connection: Connection, written: list[str]) -> None:
    """Blank what people wrote into the audit, where it names the customer."""
    named = or_(
        false(),
        *(
            func.lower(column).contains(text.lower(), autoescape=True)
            for text in written
            for column in (audit.c.reason, cast(audit.c.detail, Text))
        ),
    )
    blank = update(audit).where(in_order(audit.c.id, named))
    connection.execute(blank.values(reason=_ERASED, detail={}))


async def forgotten_of(database: Database, sid: str, after: str, limit: int) -> list[Forgotten]:
    """Return a page of the links whose customers were erased, in the order of their slugs."""
    page = (
        select(forgotten.c.slug, forgotten.c.customer_name)
        .where(forgotten.c.meeting_sid == sid, forgotten.c.slug > after)
        .order_by(forgotten.c.slug)
        .limit(limit)
    )
    return [Forgotten(*row) for row in await database.rows(page)]
