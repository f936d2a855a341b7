"""Keep bookings from reports that come in any order, and move the links that they used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, null, or_, select, update

from pool.errors import UnknownLink
from pool.ledger.columns import storable, whole_milliseconds
from pool.ledger.database import Database
from pool.ledger.rows import LINK, link_of
from pool.ledger.tables import ENDLESS, bookings, links, literal_state, meetings
from pool.model.bookings import CANCELLED, REJECTED, Booking, merged, settled
from pool.model.links import Link, State

BOOKING: tuple[Any, ...] = tuple(bookings.c[field.name] for field in fields(Booking))
_SELECT_BOOKINGS: Select[Any] = select(*BOOKING)  # as SELECT_LINKS of rows.py


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of a report."""

    link: Link
    state_before: State
    booking: Booking
    foremost: Booking | None  # the booking that the link names


class _Moved(Exception):
    """The booking belongs to another link by now."""


class Bookings:
    """Every booking that was ever matched to a link."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, report: Booking) -> Settled:
        """Add a report to its booking, and move the link as its bookings ask.

        A booking stays with the link it was first matched to, whatever `report.slug` says.
        Reports may come in any order and any number of times. Raise UnknownLink.
        """
        report = _storable(report)
        while True:
            known = await self.get(report.workspace, report.sid)
            given = replace(report, slug=known.slug) if known is not None else report
            try:
                return await self._database.write(partial(_settle, self, given))
            except _Moved:
                continue

    async def get(self, workspace: str, sid: str) -> Booking | None:
        """Return the booking of this SID, or None if it is not known."""
        return (await self.find(workspace, [sid])).get(sid)

    async def find(self, workspace: str, sids: Collection[str]) -> dict[str, Booking]:
        """Return the known ones of these bookings, by SID."""
        if not sids:
            return {}
        among = self._database.among(bookings.c.sid, [storable(sid) for sid in sids])
        rows = await self._database.rows(
            _SELECT_BOOKINGS.where(bookings.c.workspace == workspace, among)
        )
        return {booking.sid: booking for booking in (Booking(*row) for row in rows)}

    async def find_named(self, workspace: str, names: Collection[str]) -> dict[str, Booking]:
        """Return the bookings with these SIDs or provider's ids, by the name asked for."""
        if not names:
            return {}
        stored = [storable(name) for name in names]
        named = or_(
            self._database.among(bookings.c.sid, stored),
            self._database.among(bookings.c.provider_id, stored),
        )
        rows = await self._database.rows(
            _SELECT_BOOKINGS.where(bookings.c.workspace == workspace, named)
        )
        found = [Booking(*row) for row in rows]
        by_id = {each.provider_id: each for each in found if each.provider_id}
        return {
            name: each
            for name, each in (by_id | {e.sid: e for e in found}).items()
            if name in names
        }

    async def move(self, meeting_sid: str, workspace: str) -> None:
        """Count the bookings of this meeting's links as those of another workspace.

        Its events name them there. A booking that is known there already stays where it is.
        """
        there = bookings.alias("there")
        known = select(there.c.sid).where(
            there.c.workspace == workspace, there.c.sid == bookings.c.sid
        )
        of_meeting = select(links.c.slug).where(links.c.meeting_sid == meeting_sid)
        await self._database.change(
            update(bookings)
            .where(bookings.c.slug.in_(of_meeting), ~known.exists())
            .values(workspace=workspace)
        )

    async def rename(self, workspace: str, name: str, sid: str) -> None:
        """Keep a booking, known by another name so far, under its SID. Its link is settled next."""
        await self._database.write(
            lambda connection: rename(connection, workspace, storable(name), storable(sid))
        )

    async def of_link(self, slug: str) -> list[Booking]:
        """Return all bookings of a link, by SID."""
        statement = _SELECT_BOOKINGS.where(bookings.c.slug == storable(slug))
        rows = await self._database.rows(statement.order_by(bookings.c.sid))
        return [Booking(*row) for row in rows]

    async def foremost(self, link: Link) -> Booking | None:
        """Return the booking that a link names, or None if it names none."""
        return _named(link, await self.of_link(link.slug))

    async def oldest_open(self, workspace: str, *, over_since: datetime) -> datetime | None:
        """Return when the oldest booking or claim was made whose state may still change.

        Those are bookings that stand, or may come to stand, and were not over before
        `over_since`; and claims that are live. Return None if there are none.
        """
        since_made = func.coalesce(bookings.c.made_at, bookings.c.stood_at, bookings.c.heard_at)
        open_here = select(func.min(since_made)).where(
            bookings.c.workspace == workspace, bookings.c.state.not_in((CANCELLED, REJECTED))
        )
        # Two statements, of which each has an index: years of bookings that are over are not read.
        not_over = open_here.where(bookings.c.ends_at >= over_since)
        endless = open_here.where(ENDLESS, bookings.c.heard_at >= over_since)
        # One look into the index for each meeting, however many claims it has.
        first = (
            select(func.min(links.c.claimed_at))
            .where(
                links.c.meeting_sid == meetings.c.sid, links.c.state == literal_state(State.CLAIMED)
            )
            .scalar_subquery()
        )
        of_each = select(first.label("at")).where(meetings.c.workspace == workspace).subquery()
        claimed = select(func.min(of_each.c.at))
        each_first = (not_over, endless, claimed)
        found = [(await self._database.rows(each))[0][0] for each in each_first]
        return min((at for at in found if at is not None), default=None)

    def insert(self, connection: Connection, booking: Booking) -> None:
        """Write a new booking within the caller's transaction, unless there is one of its SID."""
        insert = self._database.insert(bookings).values(_values(booking))
        connection.execute(insert.on_conflict_do_nothing())


def erase(database: Database, connection: Connection, slugs: Sequence[str]) -> None:
    """Erase what these links' bookings say of a person, within the caller's transaction.

    The provider's SID and times stay, since they keep a link consumed or cancelled.
    """
    connection.execute(
        update(bookings)
        .where(database.among(bookings.c.slug, slugs))
        .values(email_key=null(), manage_url=null(), time_zone=null())
    )


def rename(connection: Connection, workspace: str, sid: str, pseudonym: str) -> None:
    """Give a booking another SID, within the caller's transaction: its pseudonym, or its own.

    If a booking has that SID already, merge the two.
    """

    def named(each: str) -> ColumnElement[bool]:
        return (bookings.c.workspace == workspace) & (bookings.c.sid == each)

    row = connection.execute(_SELECT_BOOKINGS.where(named(sid))).first()
    if row is None:
        return
    booking = replace(Booking(*row), sid=pseudonym)
    other = connection.execute(_SELECT_BOOKINGS.where(named(pseudonym))).first()
    if other is not None:
        booking = merged(Booking(*other), booking)
        connection.execute(bookings.delete().where(named(pseudonym)))
    connection.execute(update(bookings).where(named(sid)).values(_values(booking)))


def _settle(table: Bookings, report: Booking, connection: Connection) -> Settled:
    # The link is locked first, so that all writers of its bookings take turns.
    lock = select(*LINK, links.c.forgotten_at).where(links.c.slug == report.slug)
    row = connection.execute(lock.with_for_update()).first()
    if row is None:
        raise UnknownLink("the ledger does not know this link")
    before = link_of([row[: len(LINK)]])
    assert before is not None  # noqa: S101 - there is a row
    if row.forgotten_at is not None:
        report = replace(report, email_key=None, manage_url=None, time_zone=None)
    table.insert(connection, report)
    this = (bookings.c.workspace == report.workspace) & (bookings.c.sid == report.sid)
    known = Booking(*connection.execute(_SELECT_BOOKINGS.where(this).with_for_update()).one())
    if known.slug != report.slug:
        raise _Moved
    booking = merged(known, report)
    if booking != known:
        connection.execute(update(bookings).where(this).values(_values(booking)))
    all_of = _SELECT_BOOKINGS.where(bookings.c.slug == report.slug)
    of_link = [Booking(*row) for row in connection.execute(all_of)]
    after = settled(before, of_link)
    if after != before:
        connection.execute(
            update(links)
            .where(links.c.slug == after.slug)
            .values(
                state=after.state,
                consumed_at=after.consumed_at,
                cancelled_at=after.cancelled_at,
                booking_sid=after.booking_sid,
                match=after.match,
            )
        )
    return Settled(after, before.state, booking, _named(after, of_link))


def _values(booking: Booking) -> dict[str, Any]:
    return {column.name: getattr(booking, column.name) for column in BOOKING}


def _named(link: Link, of_link: Sequence[Booking]) -> Booking | None:
    return next((each for each in of_link if each.sid == link.booking_sid), None)


def _storable(report: Booking) -> Booking:
    """Return the report as the database stores it: a finer value would differ for ever."""
    values: dict[str, Any] = {}
    for field in fields(Booking):
        value = getattr(report, field.name)
        if isinstance(value, str):
            values[field.name] = storable(value)
        elif isinstance(value, datetime):
            values[field.name] = whole_milliseconds(value)
    return replace(report, **values)
