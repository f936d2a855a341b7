"""Run transactions on PostgreSQL, over connections that heal and are bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, NullPool, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pool.errors import SettingsError

T = TypeVar("T")
CONNECT_SECONDS = 3
POOL_SECONDS = 5  # the longest wait for a connection of the pool
STATEMENT_SECONDS = 15
MIGRATION_SECONDS = 600
# A client that vanished during a transaction must not keep its row locks.
IDLE_IN_TRANSACTION_SECONDS = 30


class Postgresql:
    """One PostgreSQL database."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self._writer = _engine(dsn, STATEMENT_SECONDS, pool=True, options=options)
        self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._migrator = _engine(dsn, MIGRATION_SECONDS, pool=False, options=options)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, each of whose statements sees what is committed by then."""
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction."""
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one long transaction, as creating an index on a large table needs."""
        async with self._migrator.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._writer.dispose(), self._migrator.dispose())


def postgresql_dsn(database_url: str, setting: str) -> str:
    """Return the address as the driver wants it. Raise SettingsError, naming the setting."""
    try:
        url = make_url(database_url).set(drivername="postgresql")
    except (ArgumentError, ValueError):
        raise SettingsError(
            setting, "is not a URL; write postgresql://user:password@host/database"
        ) from None
    # Hosting services append it for libpq; asyncpg would pass it to the server, which refuses it.
    url = url.difference_update_query(["channel_binding"])
    return url.render_as_string(hide_password=False)


def _engine(
    dsn: str, statement_seconds: int, *, pool: bool, options: dict[str, Any]
) -> AsyncEngine:
    async def connect() -> Any:
        # asyncpg reads the URL itself, so that all it documents (sslmode, several hosts,
        # target_session_attrs, socket directories) works.
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            # Longer than the server's own limit, for a server that no longer answers.
            command_timeout=statement_seconds + 1,
            server_settings={
                "application_name": "linkpool",
                "statement_timeout": str(statement_seconds * 1000),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_SECONDS * 1000),
            },
        )

    pooling: dict[str, Any] = {"poolclass": NullPool}
    if pool:
        pooling = {
            "pool_size": 5,
            "max_overflow": 5,
            "pool_timeout": POOL_SECONDS,
            "pool_pre_ping": True,
            "pool_use_lifo": True,
            "pool_recycle": 1800,
        }
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **pooling, **options)
