"""The database: SQLite or PostgreSQL behind one door, and the ways the two differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Table,
    Text,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from pool.errors import SettingsError
from pool.ledger.columns import json_text
from pool.ledger.failures import translated
from pool.ledger.postgresql import MIGRATION_SECONDS, Postgresql, postgresql_dsn
from pool.ledger.sqlite import Sqlite, sqlite_path

SETTING = "LINKPOOL_DATABASE_URL"
DEADLINE_SECONDS = 20  # everything together: a connection, the statements, the commit

T = TypeVar("T")
_Insert = postgresql.Insert | sqlite.Insert
_OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # errors reach logs, and parameters hold customer ids
    "json_serializer": json_text,
    "json_deserializer": msgspec.json.decode,
}


class Database:
    """One SQL database, SQLite or PostgreSQL.

    Connects when first used; a pool whose connections broke heals by itself. All that is done
    raises LedgerUnavailable when the database cannot be reached, is locked by another writer,
    or does not answer in time.

    What is to be done on a connection is given as a function, which must fetch all it returns:
    on SQLite it runs in a thread, whole.
    """

    def __init__(self, database_url: str) -> None:
        """Raises SettingsError if the URL is none of sqlite:///path, postgresql://… , postgres://…."""
        self.sqlite_path: Path | None = None
        scheme = database_url.split(":", 1)[0]
        self._kind: Sqlite | Postgresql
        if scheme == "sqlite":
            self.sqlite_path = sqlite_path(database_url, SETTING)
            self._kind = Sqlite(self.sqlite_path, **_OPTIONS)
        elif scheme in ("postgresql", "postgres"):
            self._kind = Postgresql(postgresql_dsn(database_url, SETTING), **_OPTIONS)
        else:
            raise SettingsError(SETTING, "must be sqlite:///path, postgresql://… or postgres://…")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns; for statements that only read, each on its own."""
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._kind.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in a transaction that is committed at the end.

        On SQLite it is the only writer from the start.
        """
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._kind.write(work)

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """As `write`, for what may take its time."""
        with translated():
            async with asyncio.timeout(MIGRATION_SECONDS):
                return await self._kind.migrate(work)

    async def truncate_log(self) -> bool:
        """Take what was overwritten out of SQLite's write-ahead log, by emptying it.

        Return False if a reader or another writer was in the way; True on PostgreSQL, whose
        log is its own affair.
        """
        if not isinstance(self._kind, Sqlite):
            return True
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._kind.truncate_log()

    async def compact(self) -> bool:
        """Write SQLite's file anew, without what was freed in it; False on PostgreSQL."""
        if not isinstance(self._kind, Sqlite):
            return False
        with translated():
            async with asyncio.timeout(MIGRATION_SECONDS):
                await self._kind.compact()
        return await self.truncate_log()

    async def rows(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[Any]:
        """The rows of one statement that only reads."""
        return await self.read(lambda connection: connection.execute(statement, values).all())

    async def change(self, statement: Executable) -> int:
        """Carries out one statement that writes; how many rows it concerned."""
        return await self.write(lambda connection: connection.execute(statement).rowcount)

    async def changed(self, statement: Executable) -> Sequence[Any]:
        """Carries out one statement that writes; the rows it returns."""
        return await self.write(lambda connection: connection.execute(statement).all())

    async def close(self) -> None:
        """Closes all connections."""
        await self._kind.close()

    def insert(self, table: Table) -> _Insert:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite_path else postgresql.insert(table)

    def among(self, column: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
        """Whether `column` is one of `values`, which go as one parameter.

        The statement's text is then the same for any number of values, so that it is
        compiled and planned once.
        """
        if self.sqlite_path:
            each = func.json_each(json.dumps(list(values))).table_valued("value")
            return column.in_(select(each.c.value))
        return column == func.any(literal(list(values), postgresql.ARRAY(Text)))
