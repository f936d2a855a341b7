"""Keep facts: single values that every process must agree on."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, Executable, select, update

from pool.ledger.database import Database
from pool.ledger.tables import facts

# Before a workspace's name: when the provider was last asked for all bookings that were missed.
RECONCILED = "reconciled:"


class Facts:
    """Named values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        """Return the value of this name, or None if there is none."""
        rows = await self._database.rows(select(facts.c.value).where(facts.c.name == name))
        return rows[0].value if rows else None

    async def beginning_with(self, prefix: str) -> dict[str, str]:
        """Return all facts whose names begin with `prefix`, by the rest of their names."""
        chosen = facts.c.name.startswith(prefix, autoescape=True)
        rows = await self._database.rows(select(facts.c.name, facts.c.value).where(chosen))
        return {name.removeprefix(prefix): value for name, value in rows}

    async def named(self, names: Collection[str]) -> dict[str, str]:
        """Return the facts that exist among these names, by name."""
        chosen = self._database.among(facts.c.name, names)
        rows = await self._database.rows(select(facts.c.name, facts.c.value).where(chosen))
        return {name: value for name, value in rows}  # noqa: C416 - rows are no pairs to a type checker

    async def keep(self, name: str, value: str) -> str:
        """Set the value if there is none yet. Return the value that is kept."""
        insert = self._database.insert(facts).values(name=name, value=value)
        kept = select(facts.c.value).where(facts.c.name == name)

        def work(connection: Connection) -> str:
            connection.execute(insert.on_conflict_do_nothing())
            return str(connection.scalars(kept).one())

        return await self._database.write(work)

    async def replace(self, name: str, before: str | None, value: str) -> bool:
        """Set the value if it is `before`, or if there is none for None. Return True if it was."""
        if before is None:
            insert = self._database.insert(facts).values(name=name, value=value)
            return await self._database.change(insert.on_conflict_do_nothing()) == 1
        chosen = update(facts).where(facts.c.name == name, facts.c.value == before)
        return await self._database.change(chosen.values(value=value)) == 1

    async def put(self, name: str, value: str) -> None:
        """Set the value, whatever it was."""
        await self._database.change(put_fact(self._database, name, value))


def put_fact(database: Database, name: str, value: str) -> Executable:
    """Return a statement that sets the value of a fact, whatever it was."""
    insert = database.insert(facts).values(name=name, value=value)
    return insert.on_conflict_do_update(index_elements=[facts.c.name], set_={"value": value})
