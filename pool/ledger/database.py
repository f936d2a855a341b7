"""Run statements on SQLite or PostgreSQL through one interface that hides how they differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Table,
    Text,
    bindparam,
    func,
    literal,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from pool.errors import SettingsError
from pool.ledger.columns import json_text
from pool.ledger.deadline import MIGRATION_SECONDS, is_bounded, left_seconds
from pool.ledger.failures import translated
from pool.ledger.postgresql_url import parse_postgresql
from pool.ledger.sqlite import Sqlite, sqlite_path

if TYPE_CHECKING:
    from pool.ledger.postgresql import Postgresql

SETTING = "LINKPOOL_DATABASE_URL"
CONNECTIONS = 5  # of one process, unless a setting says otherwise
DEADLINE_SECONDS = 20  # for a connection, the statements and the commit together

T = TypeVar("T")
_Insert = postgresql.Insert | sqlite.Insert
_OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # errors reach logs, and parameters hold customer ids
    "json_serializer": json_text,
    "json_deserializer": msgspec.json.decode,
}


class Database:
    """One SQL database, SQLite or PostgreSQL.

    It connects when first used, and a pool whose connections broke heals by itself. Every method
    raises LedgerUnavailable when the database cannot be reached, is locked by another writer, or
    does not answer in time.

    Work on a connection is given as a function, which must fetch all that it returns: on SQLite
    the whole function runs in a thread.
    """

    def __init__(self, database_url: str, connections: int = CONNECTIONS) -> None:
        """Open at most this number of connections at once, on PostgreSQL.

        Raise SettingsError unless the URL is sqlite:///path, postgresql://… or postgres://….
        """
        self.sqlite_path: Path | None = None
        self._left_behind: set[asyncio.Task[Any]] = set()
        scheme = database_url.split(":", 1)[0]
        self._kind: Sqlite | Postgresql
        if scheme == "sqlite":
            self.sqlite_path = sqlite_path(database_url, SETTING)
            self._kind = Sqlite(self.sqlite_path, **_OPTIONS)
        elif scheme in ("postgresql", "postgres"):
            # Imported here, because its driver takes long to import.
            from pool.ledger.postgresql import Postgresql

            address = parse_postgresql(database_url, SETTING)
            self._kind = Postgresql(address, connections, **_OPTIONS)
        else:
            raise SettingsError(SETTING, "must be sqlite:///path, postgresql://… or postgres://…")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, whose statements only read, each on its own. Return its result."""
        with translated():
            return await self._bounded(self._kind.read(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, commit it, and return the result.

        On SQLite it is the only writer from the start.
        """
        with translated():
            return await self._bounded(self._kind.write(work))

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `write` does, with a deadline long enough for a migration."""
        with translated():
            async with asyncio.timeout(MIGRATION_SECONDS):
                return await self._kind.migrate(work)

    async def truncate_log(self) -> bool:
        """Empty SQLite's write-ahead log, so that nothing overwritten stays in it.

        Return False if a reader or another writer was in the way. Return True on PostgreSQL,
        which manages its log by itself.
        """
        if not isinstance(self._kind, Sqlite):
            return True
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._kind.truncate_log()

    async def compact(self) -> bool:
        """Rewrite SQLite's file without its free space. Return False on PostgreSQL."""
        if not isinstance(self._kind, Sqlite):
            return False
        with translated():
            async with asyncio.timeout(MIGRATION_SECONDS):
                await self._kind.compact()
        return await self.truncate_log()

    async def rows(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[Any]:
        """Return the rows of one statement that only reads."""
        return await self.read(lambda connection: connection.execute(statement, values).all())

    async def change(self, statement: Executable) -> int:
        """Run one statement that writes. Return the number of rows it matched."""
        return await self.write(lambda connection: connection.execute(statement).rowcount)

    async def changed(self, statement: Executable) -> Sequence[Any]:
        """Run one statement that writes. Return the rows it returns."""
        return await self.write(lambda connection: connection.execute(statement).all())

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*self._left_behind, return_exceptions=True)
        await self._kind.close()

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Raise TimeoutError if it does not end in time."""
        if not is_bounded():
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await work
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task}, timeout=left_seconds(DEADLINE_SECONDS))
        finally:
            if not task.done():
                # A connection to a server that is silent takes seconds to close, for which the
                # request does not wait.
                task.cancel()
                self._left_behind.add(task)
                task.add_done_callback(self._forget)
        if not task.done():
            raise TimeoutError
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left_behind.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not complain

    def insert(self, table: Table) -> _Insert:
        """Return an INSERT that supports ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite_path else postgresql.insert(table)

    def among(
        self, column: ColumnElement[str] | ColumnElement[int], values: Iterable[str | int]
    ) -> ColumnElement[bool]:
        """Return the condition that `column` is one of `values`, sent as one parameter.

        The statement's text is then the same for any number of values, so that it is
        compiled and planned once.
        """
        if self.sqlite_path:
            # As text, which takes a third of the time of a SELECT to be made.
            given: BindParameter[str] = bindparam("each", json.dumps(list(values)), unique=True)
            return column.in_(text("SELECT value FROM json_each(:each)").bindparams(given))
        return column == func.any(self._array(values, column))

    def each(
        self, values: Iterable[str | int], like: ColumnElement[Any]
    ) -> Sequence[ColumnElement[Any]]:
        """Return the one column of a table of these values, sent as one parameter.

        They are of the type of the column `like`.
        """
        if self.sqlite_path:
            return [func.json_each(json.dumps(list(values))).table_valued("value").c.value]
        return [func.unnest(self._array(values, like))]

    @staticmethod
    def _array(values: Iterable[str | int], like: ColumnElement[Any]) -> ColumnElement[Any]:
        one = BigInteger() if isinstance(like.type, Integer) else Text()
        return literal(list(values), postgresql.ARRAY(one))
