"""Test a ledger whose address names a standby of PostgreSQL, and one that fails over."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from ledger_samples import claim, fresh

from pool.errors import LedgerUnavailable
from pool.ledger import Ledger
from tests.postgres import MIGRATED, PostgresServer, start_migrated

pytest_plugins = ("ledger_fixtures",)


@pytest.fixture
def primary(postgres: PostgresServer, common_directory: Path) -> Iterator[PostgresServer]:
    """Return a PostgreSQL of its own, which the test may stop."""
    server = start_migrated(common_directory)
    yield server
    try:
        server.stop()
    except subprocess.SubprocessError:
        pass  # the test stopped it
    finally:
        shutil.rmtree(server.directory)


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Return a hot standby that follows the primary."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    server = PostgresServer(folder)
    if server.account:
        shutil.chown(folder, server.account["user"], server.account["group"])
    server.run("pg_basebackup", "-h", primary.directory, "-U", "postgres", "-R", "-c", "fast", "-N")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


async def test_a_standby_is_read_and_says_that_it_only_reads_until_it_is_promoted(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    """An address with both servers goes over to the one that writes, without a restart."""
    filled = Ledger.open(primary.url(MIGRATED))
    await filled.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    await filled.links.record([claim("a-1", "ann")])
    reading = Ledger.open(standby.url(MIGRATED))
    await follow(primary, standby)
    assert (await reading.counts.of("intro")) == await filled.counts.of("intro")
    for work in (
        reading.ping(),
        reading.links.record([claim("a-2", "ben")]),
        reading.links.insert_fresh([fresh("a-3")]),
        reading.counts.fold(),
    ):
        with pytest.raises(LedgerUnavailable, match="names a standby"):
            await work
    both = Ledger.open(
        f"postgresql://postgres@/{MIGRATED}?host={standby.directory},{primary.directory}"
        "&target_session_attrs=read-write"
    )
    assert (await both.links.record([claim("a-2", "ben")])).written == 1
    await follow(primary, standby)

    primary.stop()
    with pytest.raises(LedgerUnavailable):
        await both.links.insert_fresh([fresh("a-3")])
    standby.run("pg_ctl", "-w", "promote")
    assert await both.links.insert_fresh([fresh("a-3")]) == {"a-3"}
    assert (await both.links.record([claim("a-2", "ben")])).written == 0
    await reading.ping()
    assert await both.counts.wrong() == []
    for ledger in (filled, reading, both):
        await ledger.close()


async def follow(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until the standby has everything that the primary has committed."""
    there = await asyncpg.connect(primary.url("postgres"))
    position = await there.fetchval("SELECT pg_current_wal_lsn()::text")
    await there.close()
    here = await asyncpg.connect(standby.url("postgres"))
    reached = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    for _ in range(6_000):
        if await here.fetchval(reached, position):
            break
        await here.execute("SELECT pg_sleep(0.01)")
    else:
        pytest.fail("the standby does not follow")
    await here.close()
