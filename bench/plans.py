"""Collect the statements that are sent to PostgreSQL, and find those that read a whole table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

from bench.as_if_large import as_if_large

# Tables that grow with use. The others hold some rows for each meeting, key or person's action.
LARGE = ("links", "bookings", "inbox", "forgotten", "erased_marks", "pruned_marks")

_A_FEW_PAGES_BYTES = 256 * 1024  # a table this small is read faster whole than by an index
# In PostgreSQL's own unit. Ten million rows cost 100,000, a thousand found by a key 8,000.
_COST_OF_MANY_ROWS = 50_000


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
    """Return the statements whose plan reads every row of a large table, each with its reason.

    Where the tables are `small`, a planner is right to do so: return those that would do so, or
    go through an index as a whole, with ten million links.
    """
    found = []
    large = set(LARGE) if small else await _of_several_pages(url)
    for statement, plan in (await plans_of(url, statements, small=small)).items():
        reasons = [
            node["Relation Name"]
            for node in nodes_of(plan)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large
        ]
        if small and plan["Total Cost"] > _COST_OF_MANY_ROWS:
            reasons.append(f"cost {plan['Total Cost']:.0f}")
        found += [f"{reason}: {' '.join(statement.split())}" for reason in reasons]
    return found


async def plans_of(
    url: str, statements: Statements, *, small: bool = False
) -> dict[str, dict[str, Any]]:
    """Return PostgreSQL's plan for each statement; with `small`, for ten million links."""
    connection: Any = await asyncpg.connect(url)
    plans = {}
    try:
        sizes: AbstractAsyncContextManager[None] = nullcontext()
        if small:
            sizes = as_if_large(connection)
        async with sizes:
            for statement, parameters in statements.seen.items():
                if statement.split(None, 1)[0] in ("SELECT", "UPDATE", "DELETE", "WITH"):
                    explain = f"EXPLAIN (FORMAT JSON) {statement}"
                    text = await connection.fetchval(explain, *parameters)
                    plans[statement] = json.loads(text)[0]["Plan"]
    finally:
        await connection.close()
    return plans


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's steps."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


async def _of_several_pages(url: str) -> set[str]:
    connection: Any = await asyncpg.connect(url)
    sizes = "SELECT relname::text FROM pg_class WHERE pg_relation_size(oid) > $1"
    try:
        found = {row[0] for row in await connection.fetch(sizes, _A_FEW_PAGES_BYTES)}
    finally:
        await connection.close()
    return found & set(LARGE)
