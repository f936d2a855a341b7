"""Run transactions on PostgreSQL, over connections that heal and are bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, NullPool, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pool.errors import LedgerUnavailable
from pool.ledger.deadline import MIGRATION_SECONDS
from pool.ledger.postgresql_url import PostgresqlAddress

T = TypeVar("T")
CONNECT_SECONDS = 3
POOL_SECONDS = 5  # the longest wait for a connection of the pool
STATEMENT_SECONDS = 15
KEPT_CONNECTIONS = 2  # while nothing is asked of the database
# A client that vanished during a transaction must not keep its row locks.
IDLE_IN_TRANSACTION_SECONDS = 30
_ENCODINGS = ("UTF8", "SQL_ASCII")  # that hold whatever a customer is called
_AUTOCOMMIT: Any = {"isolation_level": "AUTOCOMMIT"}
_POOLING: dict[str, Any] = {
    "pool_timeout": POOL_SECONDS,
    "pool_pre_ping": True,
    "pool_use_lifo": True,
    "pool_recycle": 1800,
}


class Postgresql:
    """One PostgreSQL database, also behind a pooler in transaction mode.

    Such a pooler (PgBouncer, and what hosting services call the pooled address) gives each
    transaction another connection to the server. So nothing may outlive a transaction: no setting,
    and no prepared statement but the unnamed one. The first use finds out whether there is one.
    """

    def __init__(self, address: PostgresqlAddress, connections: int, **options: Any) -> None:
        """`connections` is the most that are open at once, besides one for a migration."""
        self._address = address
        kept = min(connections, KEPT_CONNECTIONS)
        self._pooling = _POOLING | {"pool_size": kept, "max_overflow": connections - kept}
        self._options = options
        self._opening = asyncio.Lock()
        self._engines: _Engines | None = None

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, each of whose statements sees what is committed by then."""
        engines = self._engines or await self._open()
        async with engines.reader.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction."""
        engines = self._engines or await self._open()
        async with engines.writer.begin() as connection:
            return await connection.run_sync(work)

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one long transaction, as creating an index on a large table needs."""
        engines = self._engines or await self._open()
        async with engines.migrator.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        if self._engines is not None:
            await asyncio.gather(self._engines.writer.dispose(), self._engines.migrator.dispose())

    async def _open(self) -> _Engines:
        async with self._opening:
            if self._engines is None:
                pooled = self._address.pooled or await _is_pooled(self._address.dsn)
                schema = self._address.schema
                connect = partial(_connect, self._address.dsn, pooled=pooled, schema=schema)
                writer = _engine(
                    partial(connect, STATEMENT_SECONDS), pooled, self._options, **self._pooling
                )
                self._engines = _Engines(
                    writer=writer,
                    # In a transaction, a pooler keeps a statement's steps together.
                    reader=writer if pooled else writer.execution_options(**_AUTOCOMMIT),
                    migrator=_engine(
                        partial(connect, MIGRATION_SECONDS),
                        pooled,
                        self._options,
                        poolclass=NullPool,
                    ),
                )
                if pooled:
                    _set_in_each(writer, _settings(STATEMENT_SECONDS, schema))
                    _set_in_each(self._engines.migrator, _settings(MIGRATION_SECONDS, schema))
            return self._engines


def _set_in_each(engine: AsyncEngine, settings: dict[str, str]) -> None:
    """Have every transaction begin with these settings, since a pooler keeps nothing else.

    They go in one statement. Without them a worker whose machine is gone would keep its rows
    locked, since nothing would end its transaction.
    """
    each = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT {each}")

    event.listen(engine.sync_engine, "begin", begun)


def _settings(statement_seconds: int, schema: str | None) -> dict[str, str]:
    """Return what holds for our statements, by the server's names."""
    settings = {
        "statement_timeout": str(statement_seconds * 1000),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_SECONDS * 1000),
    }
    return settings if schema is None else settings | {"search_path": f'"{schema}"'}


@dataclass(frozen=True, slots=True)
class _Engines:
    writer: AsyncEngine
    reader: AsyncEngine
    migrator: AsyncEngine


class _PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        # It looks the type up by a statement that is prepared first and run then.
        async with self.transaction():
            await super().set_type_codec(*args, **options)


async def _is_pooled(dsn: str) -> bool:
    """Return True if a pooler drops what a connection sets for itself, or refuses it."""
    try:
        connection = await _connect(dsn, STATEMENT_SECONDS, pooled=False, statement_cache_size=0)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" in str(error):
            return True
        raise
    try:
        async with connection.transaction():
            found = await connection.fetchval(
                "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"
            )
        return bool(found != str(STATEMENT_SECONDS * 1000))
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def _connect(
    dsn: str, statement_seconds: int, *, pooled: bool, schema: str | None = None, **options: Any
) -> Any:
    """Return a connection of asyncpg, with time-outs."""
    if pooled:
        options |= {"statement_cache_size": 0, "connection_class": _PooledConnection}
    else:
        options["server_settings"] = {
            "application_name": "linkpool",
            **_settings(statement_seconds, schema),
        }
    # asyncpg reads the URL itself, so that all it documents (sslmode, several hosts,
    # target_session_attrs, socket directories) works.
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS,
        # Longer than the server's own limit, for a server that no longer answers.
        command_timeout=statement_seconds + 1,
        **options,
    )
    encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
    if encoding not in _ENCODINGS:
        connection.terminate()
        refusal = f"names a database in {encoding}, which cannot hold all names; make one in UTF8"
        raise LedgerUnavailable(f"the ledger {refusal}", refusal=refusal)
    return connection


def _engine(
    connect: Callable[[], Any], pooled: bool, options: dict[str, Any], **pooling: Any
) -> AsyncEngine:
    connecting: dict[str, Any] = {"async_creator_fn": connect}
    if pooled:
        connecting["prepared_statement_cache_size"] = 0
        connecting["prepared_statement_name_func"] = lambda: ""
    return create_async_engine(
        "postgresql+asyncpg://", connect_args=connecting, **pooling, **options
    )
