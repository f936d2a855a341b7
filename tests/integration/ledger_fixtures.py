"""Provide ledgers to test with: each test runs on a SQLite file and on a real PostgreSQL.

Used by `pytest_plugins = ("ledger_fixtures",)` in a test module.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.ledger import Ledger
from tests.postgres import PostgresServer, database


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
    async with database(server, template) as url:
        yield url


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
