"""Test that a lasting refusal by PostgreSQL stops a start in one line, also in real processes.

Refusals of Redis are in test_other_peoples_redis.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from pool.up import ports
from tests.aside import in_thread
from tests.bad_settings import attempt

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)

SECRET = "hunter2hunter3"
NOBODY_ANSWERS = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def strict(postgres: PostgresServer) -> PostgresServer:
    """Return a server where `strict` needs a password, and `poor` has no right on the tables."""
    rules = postgres.directory / "data" / "pg_hba.conf"
    rules.write_text(f"local all strict scram-sha-256\n{rules.read_text()}")

    async def make() -> None:
        admin = await asyncpg.connect(postgres.url("postgres"))
        await admin.execute("SELECT pg_reload_conf()")
        await admin.execute(f"CREATE ROLE strict LOGIN PASSWORD '{SECRET}'")
        await admin.execute("CREATE ROLE poor LOGIN")
        await admin.close()

    in_thread(make())
    return postgres


@pytest.mark.parametrize("words", ["api", "worker", "db upgrade"])
@pytest.mark.parametrize(
    ("user", "database", "problem"),
    [
        (f"strict:not{SECRET}", "postgres", "user or password that the server refuses"),
        ("stranger", "postgres", "does not let in"),
        ("postgres", "nowhere", "names a database that does not exist"),
        ("poor", "migrated", "without a right that linkpool needs"),
    ],
)
def test_what_the_database_refuses_for_good_is_named(
    strict: PostgresServer,
    migrated_postgres: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: str,
    user: str,
    database: str,
    problem: str,
) -> None:
    """The refusal comes when connecting, or when a row is written."""
    if (words, user) == ("db upgrade", "poor"):
        database = "postgres"  # there is something left to do for it there
    monkeypatch.chdir(tmp_path)
    given = {
        "LINKPOOL_REDIS_URL": NOBODY_ANSWERS,
        "LINKPOOL_DATABASE_URL": f"postgresql://{user}@/{database}?host={strict.directory}",
    }
    done = attempt(words, given, monkeypatch)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "LINKPOOL_DATABASE_URL: " in done.err
    assert problem in done.err
    assert SECRET not in done.err + done.out


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("api", "REDIS_URL", f"redis://u:{SECRET}/x@h"),
        ("worker", "BROKER_URL", "foo://"),
        ("up", "DATA_DIR", "/proc/none"),
    ],
)
def test_real_processes_end_in_the_same_line(
    tmp_path: Path, words: str, name: str, value: str
) -> None:
    """tests/unit/test_bad_settings.py has a hundred settings more, in one process."""
    environ = {key: text for key, text in os.environ.items() if not key.startswith("LINKPOOL_")}
    environ["LINKPOOL_PORT"] = str(ports.choose())
    if words != "up":
        environ["LINKPOOL_REDIS_URL"] = NOBODY_ANSWERS
    done = subprocess.run(
        [sys.executable, "-m", "pool.cli", words],
        env=environ | {f"LINKPOOL_{name}": value, "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"linkpool: LINKPOOL_{name}: ")
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr + done.stdout
