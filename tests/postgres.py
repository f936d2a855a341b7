"""Run a PostgreSQL of the tests' own, and copy its databases."""

from __future__ import annotations

import fcntl
import os
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

MIGRATED = "migrated"  # a database with all tables and nothing in them, to be copied


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


def start_migrated(common: Path) -> PostgresServer:
    """Start a new PostgreSQL that has the database MIGRATED.

    The first of several processes makes its files, in a directory that is common to them; all
    others copy these, which takes a twentieth of the time. Raise as `start_postgres` does.
    """
    made = common / "postgres"
    with (common / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not made.exists():
            _make_files(made)
    directory = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    try:
        server = postgres_in(directory)
        if server.account:
            os.chown(directory, server.account["user"], server.account["group"])
        _copy(made, directory / "data")
        server.start()
    except (OSError, KeyError, subprocess.SubprocessError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return server


def _make_files(made: Path) -> None:
    server = start_postgres()
    try:
        make_template(server)
        server.stop("fast")  # so that its files are whole
        being_made = made.with_suffix(".new")
        _copy(server.directory / "data", being_made)
        being_made.rename(made)
    finally:
        shutil.rmtree(server.directory, ignore_errors=True)


def _copy(files: Path, to: Path) -> None:
    # With their owner, who is another account where this one is root.
    subprocess.run(["cp", "-a", files, to], check=True, timeout=60)


def postgres_in(directory: Path) -> PostgresServer:
    """Return the server that runs, or is to run, in this directory."""
    return PostgresServer(directory)


def make_template(server: PostgresServer) -> str:
    """Make the database MIGRATED. Return its name."""

    async def make() -> None:
        admin = await asyncpg.connect(server.url("postgres"))
        await admin.execute(f"CREATE DATABASE {MIGRATED}")
        await admin.close()

    in_thread(make())
    in_thread(migrated(server.url(MIGRATED)))
    return MIGRATED


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
