"""Streaming all bindings of a meeting, for a Redis that has forgotten them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select, tuple_

from pool.ledger.columns import UtcTime
from pool.ledger.database import Database
from pool.ledger.records import Binding
from pool.ledger.tables import LIVE, links
from pool.links import State

_STATES = {state.value: state for state in State}

_first: Select[Any] = (
    select(
        links.c.customer_id,
        links.c.slug,
        links.c.url,
        links.c.state,
        links.c.source,
        links.c.claimed_at,
        links.c.lapses_at,
        links.c.consumed_at,
        links.c.booking_sid,
    )
    .where(links.c.meeting_sid == bindparam("sid"), LIVE)
    .order_by(links.c.claimed_at, links.c.slug)
    .limit(bindparam("batch"))
)
_next = _first.where(
    tuple_(links.c.claimed_at, links.c.slug)
    > tuple_(bindparam("claimed_at", type_=UtcTime), bindparam("slug", type_=links.c.slug.type))
)


def _binding(customer_id: str, slug: str, url: str, state: str, *rest: Any) -> Binding:
    return Binding(customer_id, slug, url, _STATES[state], *rest)


async def live_bindings(database: Database, sid: str, batch: int) -> AsyncIterator[list[Binding]]:
    """See Links.live_bindings()."""

    # No connection is held while the caller works on a page.
    async def read(claimed_at: datetime | None, slug: str) -> Sequence[Any]:
        statement = _first if claimed_at is None else _next
        values = {"sid": sid, "batch": batch, "claimed_at": claimed_at, "slug": slug}
        async with database.read() as connection:
            rows: Sequence[Any] = (await connection.execute(statement, values)).all()
        return rows

    # The next page is read while the caller works on this one: recovery is waited for.
    reading = asyncio.create_task(read(None, ""))
    try:
        while True:
            rows = await reading
            if len(rows) == batch:
                reading = asyncio.create_task(read(rows[-1].claimed_at, rows[-1].slug))
            if rows:
                yield [_binding(*row) for row in rows]
            if len(rows) < batch:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
