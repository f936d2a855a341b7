"""Test that a new SQLite file gets the tables that the migrations make."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pool.ledger import Ledger
from pool.ledger.migrations import HEAD, newest
from tests.aside import migrated
from tests.newest_schema import migrated as migrated_in_steps
from tests.newest_schema import script_of


def everything(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


async def test_a_new_file_is_like_one_that_went_through_all_migrations(tmp_path: Path) -> None:
    """Tables, indexes, triggers and all rows are equal."""
    await migrated(f"sqlite:///{tmp_path}/new.sqlite3")
    await migrated_in_steps(tmp_path / "old.sqlite3")
    assert everything(tmp_path / "new.sqlite3") == everything(tmp_path / "old.sqlite3")


async def test_what_the_script_lacks_is_migrated_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that was added since it was written is not left out."""
    await migrated_in_steps(tmp_path / "old.sqlite3", "0017")
    script = tmp_path / "script.sql"
    script.write_text(script_of(tmp_path / "old.sqlite3"))
    monkeypatch.setattr(newest, "SCRIPT", script)
    await migrated(f"sqlite:///{tmp_path}/new.sqlite3")
    ledger = Ledger.open(f"sqlite:///{tmp_path}/new.sqlite3")
    assert await ledger.migration_state() == (HEAD, HEAD)
    assert await ledger.meetings.all() == []
    await ledger.close()


async def test_a_file_with_any_table_is_left_to_the_migrations(tmp_path: Path) -> None:
    """This holds for a file whose tables have no revision yet, too."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as connection:
        connection.execute("CREATE TABLE other (one INTEGER)")
    await migrated(f"sqlite:///{tmp_path}/ledger.sqlite3")
    assert any(
        'INSERT INTO "alembic_version"' in line for line in everything(tmp_path / "ledger.sqlite3")
    )


def test_a_new_file_is_made_without_alembic(tmp_path: Path) -> None:
    """Its import would take longer than all of it."""
    code = (
        "import asyncio, sys; from tests.aside import migrated; "
        f"asyncio.run(migrated('sqlite:///{tmp_path}/new.sqlite3')); "
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"
