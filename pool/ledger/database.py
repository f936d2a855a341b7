"""The connections to the database: made, bounded in time, and the ways the two differ."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import ColumnElement, NullPool, Table, Text, event, func, literal, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pool.errors import SettingsError
from pool.ledger.columns import json_text
from pool.ledger.failures import translated

SETTING = "LINKPOOL_DATABASE_URL"

CONNECT_SECONDS = 3
POOL_SECONDS = 5  # waiting for a connection of the pool
STATEMENT_SECONDS = 15
BUSY_SECONDS = 5  # waiting for another writer of the SQLite file
DEADLINE_SECONDS = 20  # everything together: a connection, the statements, the commit
MIGRATION_SECONDS = 600
# A client that vanished within a transaction must not keep its row locks.
IDLE_IN_TRANSACTION_SECONDS = 30

_Insert = postgresql.Insert | sqlite.Insert


class Database:
    """One SQL database, SQLite or PostgreSQL.

    Connects when first used; a pool whose connections broke heals by itself. Whatever is
    done in `read()`, `write()` and `migration()` raises LedgerUnavailable when the database
    cannot be reached, is locked by another writer, or does not answer in time.
    """

    def __init__(self, database_url: str) -> None:
        """Raises SettingsError if the URL is none of sqlite:///path, postgresql://… , postgres://…."""
        self.sqlite_path: Path | None = None
        scheme = database_url.split(":", 1)[0]
        if scheme == "sqlite":
            self.sqlite_path = _sqlite_path(database_url)
            self._reader = _sqlite_engine(self.sqlite_path, pool_size=4)
            # One connection: writers of one process queue in order, instead of polling the file.
            self._writer = _sqlite_engine(self.sqlite_path, pool_size=1)
            event.listen(self._writer.sync_engine, "begin", _begin_immediate)
            self._migrator = self._writer
        elif scheme in ("postgresql", "postgres"):
            dsn = _dsn(database_url)
            self._writer = _postgresql_engine(dsn, STATEMENT_SECONDS, pool=True)
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
            self._migrator = _postgresql_engine(dsn, MIGRATION_SECONDS, pool=False)
        else:
            raise SettingsError(SETTING, "must be sqlite:///path, postgresql://… or postgres://…")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single statements that only read."""
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS), self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end. On SQLite it is the only writer from the start."""
        with translated():
            async with asyncio.timeout(DEADLINE_SECONDS), self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may take its time, as creating an index on a large table does."""
        with translated():
            async with asyncio.timeout(MIGRATION_SECONDS), self._migrator.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Closes all connections; a later use would open new ones."""
        for engine in (self._reader, self._writer, self._migrator):
            await engine.dispose()

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


def _sqlite_path(database_url: str) -> Path:
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise SettingsError(SETTING, "is not a URL; write sqlite:///path") from None
    if url.host or not url.database or url.database.startswith((":", "file:")):
        raise SettingsError(SETTING, "must name a file: sqlite:///relative or sqlite:////absolute")
    return Path(url.database)


def _dsn(database_url: str) -> str:
    try:
        url = make_url(database_url).set(drivername="postgresql")
    except (ArgumentError, ValueError):
        raise SettingsError(
            SETTING, "is not a URL; write postgresql://user:password@host/database"
        ) from None
    # Hosters append it for libpq; asyncpg would hand it to the server, which refuses it.
    url = url.difference_update_query(["channel_binding"])
    return url.render_as_string(hide_password=False)


def _sqlite_engine(path: Path, *, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        # Transactions are begun by us (the library's recipe); the driver begins them too late.
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        **_common(),
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _postgresql_engine(dsn: str, statement_seconds: int, *, pool: bool) -> AsyncEngine:
    async def connect() -> Any:
        # asyncpg reads the URL itself, so that all it documents (sslmode, several hosts,
        # target_session_attrs, socket directories) works.
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            # Above the server's own limit, for a server that has fallen silent.
            command_timeout=statement_seconds + 1,
            server_settings={
                "application_name": "linkpool",
                "statement_timeout": str(statement_seconds * 1000),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_SECONDS * 1000),
            },
        )

    if not pool:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, **_common()
        )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=5,
        max_overflow=5,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        pool_use_lifo=True,
        pool_recycle=1800,
        **_common(),
    )


def _common() -> dict[str, Any]:
    return {
        "hide_parameters": True,  # errors reach logs, and parameters hold customer ids
        "json_serializer": json_text,
        "json_deserializer": msgspec.json.decode,
    }


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.run_async(_set_pragmas)


async def _set_pragmas(connection: Any) -> None:
    try:
        # FULL, not NORMAL: with a write-ahead log NORMAL survives a crash of the process, but
        # may lose the last transactions when power fails, and by then what they held (a
        # webhook that was answered 2xx, claims trimmed from Redis) is nowhere else. FULL costs
        # one fsync per transaction, which batches make cheap.
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute("PRAGMA foreign_keys=ON")
        await connection.execute("PRAGMA temp_store=MEMORY")
        await connection.execute("PRAGMA cache_size=-16384")
        await _set_write_ahead_log(connection)
    except BaseException:
        # The pool does not know the connection yet; its thread would outlive the event loop.
        await connection.close()
        raise


async def _set_write_ahead_log(connection: Any) -> None:
    # The change is lasting, and alone of all writes does not wait for others.
    async with asyncio.timeout(BUSY_SECONDS):
        while True:
            try:
                await connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            await asyncio.sleep(0.02)


def _begin_immediate(connection: Any) -> None:
    # A transaction that reads first and then writes cannot wait for another writer: SQLite
    # would refuse it at once. So writers queue at their beginning.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
