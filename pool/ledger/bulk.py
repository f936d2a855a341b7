"""Write many rows in one statement: they travel as one JSON parameter, on both databases.

A statement's text is then the same for any number of rows, so that it is compiled and planned
once, and the work per row is done by the database instead of by Python; ten times as fast as
a parameter for each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    FromClause,
    Text,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.types import UserDefinedType

from pool.ledger.columns import UtcTime, json_text, milliseconds, whole_milliseconds
from pool.ledger.database import Database
from pool.ledger.tables import links

PLACE = "place"  # the column in which a row given to PostgreSQL says where its link is


class Place(UserDefinedType[str]):
    """The place of a row's version in PostgreSQL, which does not change while the row is locked."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return "TID"


def given_links(database: Database, rows: Sequence[dict[str, Any]]) -> FromClause:
    """Return a table of these rows, whose columns are those of `links` that each row names.

    On PostgreSQL there may be one more, PLACE. The table can be selected from, inserted from
    or joined to, and keeps the order of the rows.
    """
    names = tuple(rows[0])
    types = {name: Place() if name == PLACE else links.c[name].type for name in names}
    if database.sqlite_path is not None:
        each = func.json_each(_json(rows, milliseconds)).table_valued("value")
        return select(
            *(func.json_extract(each.c.value, f"$.{name}").label(name) for name in names)
        ).subquery("given")
    # JSON within the JSON travels as text. PostgreSQL would decode every string in it here,
    # and refuse those that hold \u0000; as a value of type json it leaves them alone.
    is_json = {name: isinstance(types[name], JSON) for name in names}
    given = (
        func.json_to_recordset(cast(literal(_json(rows, _iso), Text), JSON))
        .table_valued(*(column(name, Text if is_json[name] else types[name]) for name in names))
        .render_derived(with_types=True)
    )
    return select(
        *(
            cast(given.c[name], JSON).label(name) if is_json[name] else given.c[name]
            for name in names
        )
    ).subquery("given")


def insert_links(
    database: Database, connection: Connection, rows: Sequence[dict[str, Any]]
) -> set[str]:
    """Insert rows with different slugs. Return the slugs that were not known before."""
    if not rows:
        return set()
    # In the order of their slugs, as in all statements that lock rows, so that none deadlock.
    given = given_links(database, sorted(rows, key=itemgetter("slug")))
    statement = (
        database.insert(links)
        # Without a WHERE, SQLite takes the ON of ON CONFLICT for that of a join.
        .from_select(list(given.c.keys()), select(*given.c).where(literal_column("1") == 1))
        .on_conflict_do_nothing()
        .returning(links.c.slug)
    )
    return set(connection.scalars(statement).all())


def _json(rows: Sequence[dict[str, Any]], of_time: Callable[[datetime], object]) -> str:
    convert: dict[str, Callable[[Any], object]] = {}
    of_time = cache(of_time)  # many rows share one
    for name in links.c.keys() & rows[0].keys():
        if isinstance(links.c[name].type, UtcTime):
            convert[name] = of_time
        elif isinstance(links.c[name].type, JSON):
            convert[name] = json_text
    converted = [
        row | {name: make(row[name]) for name, make in convert.items() if row[name] is not None}
        for row in rows
    ]
    return json_text(converted)


def _iso(time: datetime) -> str:
    return whole_milliseconds(time).isoformat()
