"""Test a ledger that answers reads and refuses writes: no link is made at the provider for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from pool.cli import doctor_ledger
from pool.errors import LedgerUnavailable, PoolEmpty
from pool.ledger import Ledger
from pool.operations.health import HealthWatch
from pool.store.records import payload
from tests.any_redis import AnyRedis
from tests.in_process import InProcess, in_process

if TYPE_CHECKING:  # the plugin is pytest's to import
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)

Stop = Callable[[bool], None]


@pytest.fixture
async def on_postgres(
    fake_redis: AnyRedis, postgres: PostgresServer
) -> AsyncIterator[tuple[InProcess, PostgresServer]]:
    """Return the product on a database of its own in a real PostgreSQL."""
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute("DROP DATABASE IF EXISTS writes WITH (FORCE)")
    await admin.execute("CREATE DATABASE writes")
    await admin.close()
    url = postgres.url("writes")
    ledger = Ledger.open(url)
    await ledger.upgrade()
    await ledger.close()
    async with in_process(fake_redis, url) as product:
        yield product, postgres


async def read_only(postgres: PostgresServer, on: bool) -> None:
    """Make the same database read-only, as a failover to a replica does."""
    admin = await asyncpg.connect(postgres.url("postgres"))
    value = "on" if on else "off"
    await admin.execute(f"ALTER DATABASE writes SET default_transaction_read_only = {value}")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'writes'"
    )
    await admin.close()


async def refused_links(product: InProcess) -> int:
    """Ask for links in both ways while the ledger refuses writes. Return the number that was
    made.
    """
    meeting = await product.ledger.meetings.get("intro")
    assert meeting is not None
    before = len(product.provider.made)
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            await product.top_up()
    on_demand, names = product.on_demand(), product.store.names
    for who in ("ann", "ben", "eve"):
        with pytest.raises(PoolEmpty, match="ledger"):
            await on_demand.make_and_bind(meeting, names.name("intro", who), payload(who))
    return len(product.provider.made) - before


async def test_no_link_is_made_for_a_postgresql_that_only_reads(
    on_postgres: tuple[InProcess, PostgresServer],
) -> None:
    """Neither top-up nor the direct way makes one, and both continue as soon as it writes."""
    product, postgres = on_postgres
    await product.meeting("intro", min_fresh=20)
    await read_only(postgres, True)
    with suppress(LedgerUnavailable):  # the connection that was cut
        await product.ledger.meetings.all()
    assert len(await product.ledger.meetings.all()) == 1  # it reads
    assert await refused_links(product) == 0
    watch = HealthWatch(product.store, product.ledger, product.parts.settings)
    parts = {each.name: each for each in (await watch.look()).parts}
    assert (parts["ledger"].state, parts["webhooks"].state) == ("down", "down")
    assert "the ledger only reads" in parts["ledger"].detail
    [finding, *_] = [each async for each in doctor_ledger.ledger(product.parts)]
    assert (finding.what, finding.verdict) == ("database", "failed")
    assert "names a standby" in finding.text
    await read_only(postgres, False)
    with suppress(LedgerUnavailable):  # the connection that was cut
        await product.ledger.ping()
    await product.top_up()
    assert len(await product.pooled("intro")) == 20


async def test_no_more_links_are_lost_than_were_under_way_when_it_began(
    on_postgres: tuple[InProcess, PostgresServer],
) -> None:
    """A ledger that fails in the midst of a top-up costs no more links than were under way; later
    runs lose none.
    """
    product, postgres = on_postgres
    await product.meeting("intro", min_fresh=2_000)
    product.provider.seconds = 0.01
    run = asyncio.create_task(product.top_up())
    async with asyncio.timeout(20):
        while len(await product.pooled("intro")) < 50:  # noqa: ASYNC110 - a condition is no event
            await asyncio.sleep(0.01)
    await read_only(postgres, True)
    await asyncio.wait([run], timeout=30)
    lost = len(product.provider.made) - len(await product.pooled("intro"))
    assert lost <= 2 * product.parts.settings.provider_concurrency
    made = len(product.provider.made)
    for _ in range(3):
        product.parts.makers["default"].patience._until = 0.0  # its rest is over
        with pytest.raises(LedgerUnavailable):
            await product.top_up()
    assert len(product.provider.made) == made


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the SQLite file within the block, as another writer would."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_no_link_is_made_for_a_sqlite_file_that_another_writer_holds(
    fake_redis: AnyRedis, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file answers every read meanwhile."""
    holding: AbstractContextManager[None] = locked(sqlite_url.removeprefix("sqlite:///"))
    monkeypatch.setattr("pool.ledger.sqlite.BUSY_SECONDS", 0.05, raising=False)
    async with in_process(fake_redis, sqlite_url) as product:
        await product.meeting("intro", min_fresh=20)
        with holding:
            assert len(await product.ledger.meetings.all()) == 1
            with pytest.raises(LedgerUnavailable):
                await product.top_up()
        assert product.provider.made == []
        await product.top_up()
        assert len(await product.pooled("intro")) == 20
