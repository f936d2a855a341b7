"""Collect the statements that are sent to PostgreSQL, and find those that read a whole table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

# Tables that grow with use. The others hold some rows for each meeting, key or person's action.
LARGE = ("links", "bookings", "inbox", "forgotten", "erased_marks", "pruned_marks")


_A_FEW_PAGES_BYTES = 256 * 1024  # a table this small is read faster whole than by an index


class Statements:
    """Each distinct statement, with the parameters of its first run."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[Any, ...]] = {}

    def __call__(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        """Note a statement that is about to run."""
        many = isinstance(parameters, list)
        given = parameters[0] if many and parameters else parameters
        self.seen.setdefault(statement, tuple(given or ()))


@contextmanager
def noted() -> Iterator[Statements]:
    """Note all statements of this process."""
    statements = Statements()
    event.listen(Engine, "before_cursor_execute", statements)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", statements)


async def whole_reads(url: str, statements: Statements, *, small: bool = False) -> list[str]:
    """Return the statements whose plan reads every row of a large table, each with the table.

    Where the tables are `small`, a planner is right to do so: return those for which there is no
    other way.
    """
    connection: Any = await asyncpg.connect(url)
    found = []
    try:
        large = set(LARGE)
        if small:
            await connection.execute("SET enable_seqscan = off")
        else:
            sizes = "SELECT relname::text FROM pg_class WHERE pg_relation_size(oid) > $1"
            large &= {row[0] for row in await connection.fetch(sizes, _A_FEW_PAGES_BYTES)}
        for statement, parameters in statements.seen.items():
            if statement.split(None, 1)[0] not in ("SELECT", "UPDATE", "DELETE", "WITH"):
                continue
            plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)
            found += [
                f"{node['Relation Name']}: {' '.join(statement.split())}"
                for node in _nodes(json.loads(plan)[0]["Plan"])
                if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large
            ]
    finally:
        await connection.close()
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
