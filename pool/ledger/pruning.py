"""Find links that ended long ago, and delete them with their bookings, some at a time.

A link may be pruned once it is retired, quarantined, lapsed, consumed or cancelled, has been so
for the retention, none of its bookings ended later, and nothing of its customer waits to be
erased. What remains is a mark of each name (pool/ledger/pruned.py), and the number of links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    delete,
    func,
    or_,
    select,
    true,
)

from pool.ledger.database import Database
from pool.ledger.forget import ERASING
from pool.ledger.pruned import keep_marks, mark_of_booking, mark_of_link
from pool.ledger.tables import (
    ENDLESS,
    LAPSED,
    WITHDRAWN,
    bookings,
    forgotten,
    links,
    literal_state,
    meetings,
    pruned_counts,
)
from pool.model.links import State

BATCH_LINKS = 500
_BOOKED = (State.CONSUMED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Walk:
    """One way through the old links, oldest first: by an index that holds them in this order."""

    name: str
    workspace: str | None = None  # whose bookings it follows


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a walk."""

    at: datetime
    passed: bool = False  # True: go on behind this moment, because nothing at it could be pruned


@dataclass(frozen=True, slots=True)
class OldLink:
    """A link on a walk. It is `ripe` if it may be pruned."""

    slug: str
    meeting_sid: str
    customer_id: str | None
    is_consumed: bool
    ripe: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class PrunedLinks:
    """The numbers of links and bookings that were deleted."""

    links: int = 0
    bookings: int = 0

    def __add__(self, other: PrunedLinks) -> PrunedLinks:
        return PrunedLinks(self.links + other.links, self.bookings + other.bookings)


class Pruning:
    """The deletion of old links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def walks(self) -> list[Walk]:
        """Return the walks that together pass every old link."""
        rows = await self._database.rows(select(meetings.c.workspace).distinct())
        booked = [
            Walk(name, sid) for sid in sorted(row[0] for row in rows) for name in _OF_BOOKINGS
        ]
        return [*(Walk(name) for name in _OF_LINKS), *booked]

    async def look(
        self, walk: Walk, before: datetime, place: Place | None, limit: int = BATCH_LINKS
    ) -> list[OldLink]:
        """Return the next links on a walk that ended before a time, ripe or not.

        A link with several bookings may come several times.
        """
        found = _next(walk, before, place, limit)
        statement = (
            select(
                links.c.slug,
                links.c.meeting_sid,
                links.c.customer_id,
                links.c.state == literal_state(State.CONSUMED),
                _ripe(before),
                found.c.at,
            )
            .join_from(found, links, links.c.slug == found.c.slug)
            .order_by(found.c.at)
        )
        return [OldLink(*row) for row in await self._database.rows(statement)]

    async def prune(self, slugs: Sequence[str], before: datetime) -> PrunedLinks:
        """Delete the ripe links among these, with their bookings.

        A link that another process is writing is passed over. Running twice at once does no harm.
        """
        database = self._database
        mine = select(links.c.slug).where(database.among(links.c.slug, slugs))

        def work(connection: Connection) -> PrunedLinks:
            held = list(connection.scalars(mine.with_for_update(skip_locked=True)))
            # Checked once more now that nobody else can write them: a booking may have come
            # meanwhile.
            ripe = connection.execute(
                select(links.c.slug, links.c.meeting_sid, links.c.state)
                .where(database.among(links.c.slug, held))
                .where(_ripe(before))
            ).all()
            if not ripe:
                return PrunedLinks()
            gone = [row.slug for row in ripe]
            of_these = database.among(bookings.c.slug, gone)
            names = connection.execute(
                select(bookings.c.workspace, bookings.c.sid, bookings.c.provider_id).where(of_these)
            ).all()
            marks = {mark_of_link(slug) for slug in gone}
            for workspace, *known_as in names:
                marks |= {mark_of_booking(workspace, name) for name in known_as if name}
            keep_marks(database, connection, marks)
            connection.execute(delete(bookings).where(of_these))
            connection.execute(delete(links).where(database.among(links.c.slug, gone)))
            _count(database, connection, [(row.meeting_sid, row.state) for row in ripe])
            return PrunedLinks(len(gone), len(names))

        return await database.write(work)

    async def count(self, before: datetime) -> PrunedLinks:
        """Return what pruning would delete. With very many links this takes minutes."""
        ripe = _ripe(before)
        slugs = select(links.c.slug).where(ripe)

        def work(connection: Connection) -> PrunedLinks:
            of_links = connection.scalar(select(func.count()).select_from(links).where(ripe))
            of_bookings = connection.scalar(
                select(func.count()).select_from(bookings).where(bookings.c.slug.in_(slugs))
            )
            return PrunedLinks(of_links or 0, of_bookings or 0)

        return await self._database.migrate(work)


_OF_LINKS: dict[str, tuple[Any, Any]] = {
    "withdrawn": (links.c.withdrawn_at, WITHDRAWN),
    "lapsed": (links.c.lapses_at, LAPSED),
}
_OF_BOOKINGS: dict[str, tuple[Any, Any]] = {
    "ended": (bookings.c.ends_at, None),
    "endless": (bookings.c.heard_at, ENDLESS),
}


def _next(walk: Walk, before: datetime, place: Place | None, limit: int) -> FromClause:
    """Return the slugs that are next on a walk, each with the time by which it is found.

    They are chosen by one index alone, so that this takes the same time however many there are.
    """
    of_bookings = walk.workspace is not None
    column, only = (_OF_BOOKINGS if of_bookings else _OF_LINKS)[walk.name]
    statement: Select[Any] = select(column.table.c.slug, column.label("at")).where(column < before)
    if only is not None:
        statement = statement.where(only)
    if of_bookings:
        statement = statement.where(bookings.c.workspace == walk.workspace)
    if place is not None:
        statement = statement.where(column > place.at if place.passed else column >= place.at)
    return statement.order_by(column).limit(limit).subquery("found")


def _ripe(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a link may be pruned."""
    # As values of a row, not as EXISTS, for which PostgreSQL may read a whole table at once.
    ended = func.coalesce(bookings.c.ends_at, bookings.c.starts_at, bookings.c.heard_at)
    last_ended = select(func.max(ended)).where(bookings.c.slug == links.c.slug).scalar_subquery()
    stage = select(forgotten.c.stage).where(forgotten.c.slug == links.c.slug).scalar_subquery()
    moved = func.coalesce(links.c.cancelled_at, links.c.consumed_at, links.c.created_at)
    return and_(
        or_(
            and_(WITHDRAWN, links.c.withdrawn_at < before),
            and_(LAPSED, links.c.lapses_at < before),
            and_(links.c.state.in_(_BOOKED), moved < before),
        ),
        func.coalesce(last_ended < before, true()),
        func.coalesce(stage != ERASING, true()),
    )


def _count(database: Database, connection: Connection, ended: Sequence[tuple[str, str]]) -> None:
    """Count links that are being pruned, in the order in which all do, so that none deadlock."""
    for sid, state in sorted(set(ended)):
        new = database.insert(pruned_counts).values(
            meeting_sid=sid, state=state, number=ended.count((sid, state))
        )
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[pruned_counts.c.meeting_sid, pruned_counts.c.state],
                set_={"number": pruned_counts.c.number + new.excluded.number},
            )
        )
