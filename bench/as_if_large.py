"""Make PostgreSQL's planner treat small tables as those of a ledger with ten million links.

A planner is right to read a small table as a whole, so its plans there prove nothing; with
`enable_seqscan = off` it may read a whole index instead. What it knows of a table's size and
values is in system tables, which a transaction may change and roll back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

# What `python -m bench --only ledger` fills: rows of tables, and of indexes that hold few of them.
_ROWS = {
    "links": 10_000_000,
    "bookings": 1_800_000,
    "inbox": 470_000,
    "forgotten": 100_000,
    "erased_marks": 500_000,
    "pruned_marks": 10_000_000,
    "ix_links_meeting_sid_created_at": 1_000,
    "ix_links_lapses_at": 1_500_000,
    "ix_links_meeting_sid_claimed_at": 1_500_000,
    "ix_links_meeting_sid_claimed_at_slug": 3_300_000,
    "ix_links_lapsed": 6_000_000,
    "ix_links_withdrawn_at": 700_000,
    "ix_bookings_workspace_heard_at": 1_000,
    "ix_forgotten_stage": 10,
    "ix_inbox_id": 10,
}
_TABLES = ("links", "bookings", "inbox", "forgotten", "erased_marks", "pruned_marks")
# One row of each, so that every table has a page.
_ONE_ROW = {
    "links": "(slug, url, meeting_sid, state, source, epoch, created_at, customer_id) "
    "VALUES ('as-if-large', '', '', 'lapsed', '', '', now(), '')",
    "bookings": "(workspace, sid, slug, state, heard_at, stood) "
    "VALUES ('as-if-large', '', '', '', now(), true)",
    "inbox": "(id, workspace, source, event, body, received_at, state, reason, attempts, seen) "
    "VALUES ('as-if-large', '', '', '', '', now(), 'settled', '', 0, 1)",
    "forgotten": "(slug, meeting_sid, customer_name, forgotten_at) "
    "VALUES ('as-if-large', '', '', now())",
    "erased_marks": "(slug, mark, erased_at) VALUES ('as-if-large', '', now())",
    "pruned_marks": "(mark) VALUES (-1)",
}
_EACH = -1.0  # another value in each row
# By table and column: distinct values, the share of NULL, common values with their shares.
_VALUES: dict[tuple[str, str], tuple[float, float, dict[str, float]]] = {
    ("links", "slug"): (_EACH, 0, {}),
    ("links", "meeting_sid"): (1_000, 0, {}),
    ("links", "state"): (
        6,
        0,
        {"lapsed": 0.6, "claimed": 0.15, "consumed": 0.14, "retired": 0.07, "cancelled": 0.04},
    ),
    ("links", "epoch"): (100, 0, {}),
    ("links", "customer_id"): (_EACH, 0.07, {}),
    ("links", "email_key"): (_EACH, 0.53, {}),
    ("links", "booking_sid"): (_EACH, 0.82, {}),
    ("bookings", "workspace"): (1, 0, {"default": 1.0}),
    ("bookings", "sid"): (_EACH, 0, {}),
    ("bookings", "slug"): (_EACH, 0, {}),
    ("bookings", "state"): (2, 0, {"confirmed": 0.78, "cancelled": 0.22}),
    ("bookings", "provider_id"): (_EACH, 0.5, {}),
    ("bookings", "email_key"): (_EACH, 0.1, {}),
    ("inbox", "id"): (_EACH, 0, {}),
    ("inbox", "workspace"): (1, 0, {"default": 1.0}),
    ("inbox", "state"): (5, 0, {"settled": 0.999}),
    ("inbox", "slug"): (_EACH, 0.01, {}),
    ("inbox", "booking_sid"): (_EACH, 0.01, {}),
    ("inbox", "parent_sid"): (_EACH, 0.99, {}),
    ("forgotten", "slug"): (_EACH, 0, {}),
    ("forgotten", "meeting_sid"): (1_000, 0, {}),
    ("forgotten", "customer_name"): (_EACH, 0, {}),
    ("erased_marks", "slug"): (-0.2, 0, {}),
    ("erased_marks", "mark"): (-0.9, 0, {}),
}
# Columns of times, whose values are spread over the last year.
_TIMES = {
    "links": ("created_at", "claimed_at", "lapses_at", "withdrawn_at"),
    "bookings": ("ends_at", "heard_at"),
    "inbox": ("received_at",),
}


@asynccontextmanager
async def as_if_large(connection: Any) -> AsyncIterator[None]:
    """Change what the planner knows within this block, for this connection of a superuser."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        for table in _TABLES:
            await connection.execute(f"INSERT INTO {table} {_ONE_ROW[table]}")
        # A page holds as many rows as all are: the planner multiplies that by the pages it finds.
        await connection.execute(
            _SIZES,
            list(_ROWS),
            list(_ROWS.values()),
            list(_TABLES),
        )
        for (table, column), (distinct, null, common) in _VALUES.items():
            await _restore(connection, table, column, distinct, null, common)
        for table, columns in _TIMES.items():
            for column in columns:
                await _restore(connection, table, column, _EACH, 0.1, {}, is_time=True)
        yield
    finally:
        await transaction.rollback()


_SIZES = """
UPDATE pg_class AS class
SET reltuples = sized.rows,
    relpages = CASE class.relkind WHEN 'i' THEN 2
                                  ELSE greatest(1, pg_relation_size(class.oid) / 8192) END
FROM (
  SELECT index.indexrelid AS oid, coalesce(own.rows, given.rows) AS rows
  FROM pg_index AS index
  JOIN pg_class AS whole ON whole.oid = index.indrelid
  JOIN pg_class AS part ON part.oid = index.indexrelid
  JOIN unnest($1::text[], $2::bigint[]) AS given (name, rows) ON given.name = whole.relname
  LEFT JOIN unnest($1::text[], $2::bigint[]) AS own (name, rows) ON own.name = part.relname
  UNION ALL
  SELECT each.oid, given.rows
  FROM pg_class AS each JOIN unnest($1::text[], $2::bigint[]) AS given (name, rows)
    ON given.name = each.relname AND each.relname = ANY($3::text[])
) AS sized WHERE sized.oid = class.oid
"""


async def _restore(
    connection: Any,
    table: str,
    column: str,
    distinct: float,
    null: float,
    common: dict[str, float],
    *,
    is_time: bool = False,
) -> None:
    arguments = [
        "'schemaname', current_schema()::text",
        f"'relname', '{table}'",
        f"'attname', '{column}'",
        "'inherited', false",
        f"'null_frac', {null}::real",
        "'avg_width', 20",
        f"'n_distinct', {distinct}::real",
    ]
    if common:
        values, shares = ",".join(common), ",".join(map(str, common.values()))
        arguments += [
            f"'most_common_vals', '{{{values}}}'",
            f"'most_common_freqs', '{{{shares}}}'::real[]",
        ]
    if is_time:
        # Rows are written in the order of time.
        arguments.append("'correlation', 1::real")
        arguments.append(
            "'histogram_bounds', "
            "(SELECT array_agg(now() - make_interval(days => 365 - each))::text "
            "FROM generate_series(0, 365, 5) AS each)"
        )
    await connection.execute(f"SELECT pg_restore_attribute_stats({', '.join(arguments)})")
