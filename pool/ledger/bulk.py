"""Many rows in one statement: they travel as one JSON parameter, on both databases.

A statement's text is then the same for any number of rows, so that it is compiled and planned
once, and the work per row is done by the database instead of by Python; ten times as fast as
a parameter for each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import FromClause, Text, cast, column, func, literal, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from pool.ledger.columns import UtcTime, milliseconds, whole_milliseconds
from pool.ledger.database import Database
from pool.ledger.tables import links


def given_links(database: Database, rows: Sequence[dict[str, Any]]) -> FromClause:
    """A table of these rows, named by columns of `links`; every row has the same columns.

    To be selected from, inserted from or joined to. It keeps the order of the rows.
    """
    names = tuple(rows[0])
    if database.sqlite_path is not None:
        each = func.json_each(_json(rows, milliseconds)).table_valued("value")
        return select(
            *(func.json_extract(each.c.value, f"$.{name}").label(name) for name in names)
        ).subquery("given")
    return (
        func.json_to_recordset(cast(literal(_json(rows, _iso), Text), postgresql.JSON))
        .table_valued(*(column(name, links.c[name].type) for name in names), name="given")
        .render_derived(with_types=True)
    )


async def insert_links(
    database: Database, connection: AsyncConnection, rows: Sequence[dict[str, Any]]
) -> set[str]:
    """Inserts rows with different slugs; returns those slugs that were not known before."""
    if not rows:
        return set()
    # In the order of their slugs, as all that lock rows do: else two could wait for each other.
    given = given_links(database, sorted(rows, key=itemgetter("slug")))
    statement = (
        database.insert(links)
        # Without a WHERE, SQLite takes the ON of ON CONFLICT for that of a join.
        .from_select(list(given.c.keys()), select(*given.c).where(literal_column("1") == 1))
        .on_conflict_do_nothing()
        .returning(links.c.slug)
    )
    return set((await connection.scalars(statement)).all())


def _json(rows: Sequence[dict[str, Any]], convert: Callable[[datetime], object]) -> str:
    times = [name for name in rows[0] if isinstance(links.c[name].type, UtcTime)]
    converted = [
        row | {name: convert(row[name]) for name in times if row[name] is not None} for row in rows
    ]
    return msgspec.json.encode(converted).decode()


def _iso(time: datetime) -> str:
    return whole_milliseconds(time).isoformat()
