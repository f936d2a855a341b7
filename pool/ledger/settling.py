"""Settling: what a booking does to a link, whatever the order in which its events come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select, update

from pool.errors import UnknownLink
from pool.ledger.columns import storable, whole_milliseconds
from pool.ledger.database import Database
from pool.ledger.rows import LINK, link_of
from pool.ledger.tables import links
from pool.links import Link, State, may_move

# How a booking was matched, the surest first.
_SUREST_FIRST = ("field", "slug", "assigned", "booking", "probable")


def settled(
    link: Link, new: State, *, booking_sid: str | None, at: datetime, match: str | None
) -> Link:
    """The link after one event of its booking.

    Each field keeps the greatest or least of what events said, never the latest: so their
    order does not count, nor how often they come.
    """
    return replace(
        link,
        state=new if may_move(link.state, new) else link.state,
        consumed_at=_earliest(link.consumed_at, at if new is State.CONSUMED else None),
        cancelled_at=_earliest(link.cancelled_at, at if new is State.CANCELLED else None),
        booking_sid=link.booking_sid or booking_sid,
        match=_surest(link.match, match),
    )


async def settle(
    database: Database,
    slug: str,
    new: State,
    *,
    booking_sid: str | None,
    at: datetime,
    match: str | None,
) -> Link:
    """See Links.settle()."""
    if new not in (State.CONSUMED, State.CANCELLED):
        raise ValueError(f"a booking makes no link {new}")
    # As the database keeps it; a finer time would compare as different for ever.
    at = whole_milliseconds(at)
    booking_sid = None if booking_sid is None else storable(booking_sid)
    look = select(*LINK).where(links.c.slug == slug).with_for_update()

    def move(connection: Connection) -> Link:
        before = link_of(connection.execute(look).all())
        if before is None:
            raise UnknownLink("the ledger does not know this link")
        after = settled(before, new, booking_sid=booking_sid, at=at, match=match)
        if after != before:
            connection.execute(
                update(links)
                .where(links.c.slug == slug)
                .values(
                    state=after.state,
                    consumed_at=after.consumed_at,
                    cancelled_at=after.cancelled_at,
                    booking_sid=after.booking_sid,
                    match=after.match,
                )
            )
        return after

    return await database.write(move)


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _surest(one: str | None, other: str | None) -> str | None:
    def doubt(match: str) -> tuple[int, str]:
        known = match in _SUREST_FIRST
        return (_SUREST_FIRST.index(match) if known else len(_SUREST_FIRST), match)

    return min((match for match in (one, other) if match), key=doubt, default=None)
