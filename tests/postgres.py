"""Run a PostgreSQL of the tests' own, and copy its databases."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg

from bench import postgres_server as bench_server
from tests.aside import in_thread, migrated


class PostgresServer(bench_server.PostgresServer):
    """A running PostgreSQL that writes nothing through to its disk."""

    def start(self, *settings: str) -> None:
        super().start("fsync=off", *settings)

    def stop(self, mode: str = "immediate") -> None:
        super().stop(mode)


def start_postgres() -> PostgresServer:
    """Start a new PostgreSQL. Raise OSError, KeyError or SubprocessError."""
    # Not pytest's directory: another account could not enter it, nor would a socket's path fit.
    directory = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    try:
        server = postgres_in(directory)
        server.make()
        server.start()
    except (OSError, KeyError, subprocess.SubprocessError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return server


def postgres_in(directory: Path) -> PostgresServer:
    """Return the server that runs, or is to run, in this directory."""
    return PostgresServer(directory)


def make_template(server: PostgresServer) -> str:
    """Make a database with all tables and nothing in them, to be copied. Return its name."""
    name = "migrated"

    async def make() -> None:
        admin = await asyncpg.connect(server.url("postgres"))
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()

    in_thread(make())
    in_thread(migrated(server.url(name)))
    return name


@asynccontextmanager
async def database(server: PostgresServer, template: str = "template1") -> AsyncIterator[str]:
    """Make a database, a copy of `template`, and yield its address."""
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def rows_of(url: str) -> dict[str, bytes]:
    """Return all rows of all tables of a database, as a backup keeps them."""
    connection: Any = await asyncpg.connect(url)
    kept: dict[str, bytes] = {}
    try:
        for [table] in await connection.fetch(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
        ):
            file = BytesIO()
            await connection.copy_from_query(
                f'SELECT * FROM "{table}"',
                output=file,
                format="binary",
            )
            kept[table] = file.getvalue()
    finally:
        await connection.close()
    return kept


async def put_back(url: str, kept: dict[str, bytes]) -> None:
    """Make these the rows of a database again, as restoring a backup does."""
    connection: Any = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table, rows in kept.items():
                await connection.execute(f'TRUNCATE "{table}"')
                await connection.copy_to_table(table, source=BytesIO(rows), format="binary")
    finally:
        await connection.close()
