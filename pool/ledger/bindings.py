"""Stream all bindings of a meeting, for a Redis that has forgotten them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    cast,
    extract,
    func,
    null,
    select,
    tuple_,
    type_coerce,
)

from pool.ledger.columns import UtcTime, from_milliseconds
from pool.ledger.database import Database
from pool.ledger.records import Binding
from pool.ledger.tables import LIVE, bookings, links, literal_state
from pool.model.links import State

_page = msgspec.json.Decoder(list[Binding])


_Milliseconds = Callable[[ColumnElement[Any]], ColumnElement[int]]


def booked(milliseconds: _Milliseconds, *, on_sqlite: bool) -> ColumnElement[Any]:
    """Return the booking that a consumed link names, as JSON. It is read for no other link."""
    array = func.json_array if on_sqlite else func.json_build_array
    named = (
        select(
            # The fields of Booked, in its order.
            array(
                bookings.c.sid,
                bookings.c.state,
                milliseconds(bookings.c.starts_at),
                milliseconds(bookings.c.ends_at),
                bookings.c.time_zone,
                bookings.c.manage_url,
            )
        )
        .where(bookings.c.slug == links.c.slug, bookings.c.sid == links.c.booking_sid)
        .limit(1)
        .scalar_subquery()
    )
    return case((links.c.state == literal_state(State.CONSUMED), named), else_=null())


@cache
def _statements(*, on_sqlite: bool) -> tuple[Select[Any], Select[Any]]:
    """Return the statements for the first page, and for the page after a binding.

    A page comes as one JSON text. The database then does all the work per row, and on SQLite
    in one go: the driver would release the interpreter's lock and wait for it at each row.
    """

    def milliseconds(column: ColumnElement[Any]) -> ColumnElement[int]:
        if on_sqlite:
            return type_coerce(column, BigInteger)
        return cast(extract("epoch", column) * 1000, BigInteger)

    rows = (
        select(
            # The fields of Binding, in its order.
            links.c.customer_id,
            links.c.slug,
            links.c.state,
            links.c.source,
            milliseconds(links.c.claimed_at).label("claimed_at_ms"),
            milliseconds(links.c.lapses_at).label("lapses_at_ms"),
            milliseconds(links.c.consumed_at).label("consumed_at_ms"),
            links.c.booking_sid,
            booked(milliseconds, on_sqlite=on_sqlite).label("booked"),
        )
        .where(links.c.meeting_sid == bindparam("sid"), LIVE)
        .order_by(links.c.claimed_at, links.c.slug)
        .limit(bindparam("batch"))
    )
    later = rows.where(
        tuple_(links.c.claimed_at, links.c.slug)
        > tuple_(bindparam("claimed_at", type_=UtcTime), bindparam("slug", type_=Text))
    )

    def as_json(page: Select[Any]) -> Select[Any]:
        given = page.subquery("page")
        if on_sqlite:
            # Through a subquery the booking's JSON is plain text again; json() restores its type.
            columns = [func.json(each) if each.name == "booked" else each for each in given.c]
            return select(func.json_group_array(func.json_array(*columns)))
        return select(cast(func.json_agg(func.json_build_array(*given.c)), Text))

    return as_json(rows), as_json(later)


async def live_bindings(database: Database, sid: str, batch: int) -> AsyncIterator[list[Binding]]:
    """Yield a meeting's bindings, as Links.live_bindings() says."""
    first, later = _statements(on_sqlite=database.sqlite_path is not None)

    # No connection is held while the caller works on a page.
    async def read(after: Binding | None) -> str:
        values: dict[str, Any] = {"sid": sid, "batch": batch}
        if after is not None:
            values |= {"claimed_at": from_milliseconds(after.claimed_at_ms), "slug": after.slug}
        rows = await database.rows(later if after is not None else first, values)
        return rows[0][0] or "[]"

    # The next page is read while the caller works on this one: visitors wait for recovery.
    reading = asyncio.create_task(read(None))
    try:
        while True:
            bindings = _page.decode(await reading)
            if len(bindings) == batch:
                reading = asyncio.create_task(read(bindings[-1]))
            if bindings:
                yield bindings
            if len(bindings) < batch:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
