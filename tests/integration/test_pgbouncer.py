"""Test the ledger behind PgBouncer in transaction mode, with fewer connections than are in use."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from ledger_samples import NOW, claim, fresh
from sqlalchemy import func, select

from pool.ledger import Ledger
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.up import ports

if TYPE_CHECKING:  # the plugin is pytest's to import
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
IGNORING = "ignore_startup_parameters = statement_timeout, idle_in_transaction_session_timeout"

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no PgBouncer: apt-get install pgbouncer")


@contextmanager
def pgbouncer(server: PostgresServer, more: str) -> Iterator[int]:
    """Run PgBouncer in front of the server. Yield its port."""
    port = ports.choose()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.directory} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {folder}/users\npool_mode = transaction\n"
        f"default_pool_size = 2\nserver_round_robin = 1\n{more}\n"
    )
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which it refuses to run
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for each in (folder, folder / "users", folder / "ini"):
            os.chown(each, nobody.pw_uid, nobody.pw_gid)
    process = subprocess.Popen(
        [str(PGBOUNCER), "-q", str(folder / "ini")], **account, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "PgBouncer does not listen"
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["", IGNORING], ids=["strict", "ignoring"])
async def pooled_url(
    request: pytest.FixtureRequest, postgres: PostgresServer
) -> AsyncIterator[str]:
    """Return an address through PgBouncer, which refuses or drops what connections set."""
    name = f"p{os.getpid()}{time.monotonic_ns()}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    inside = await asyncpg.connect(postgres.url(name))
    await inside.execute("CREATE SCHEMA links")
    await inside.close()
    with pgbouncer(postgres, request.param) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.mark.parametrize("given", ["", "?pgbouncer=true", "?schema=links"])
async def test_the_ledger_works_behind_a_pooler(
    pooled_url: str, given: str, postgres: PostgresServer
) -> None:
    """Migrations, rows with JSON, and twenty writers and readers share two connections."""
    ledger = Ledger.open(pooled_url + given)
    try:
        await ledger.upgrade()
        await ledger.meetings.put(Meeting("m"))
        slugs = [f"one-off-{number}" for number in range(200)]

        async def work(number: int) -> None:
            some = slugs[number * 10 : number * 10 + 10]
            assert set(await ledger.links.insert_fresh([fresh(slug) for slug in some])) == set(some)
            for slug in some[:3]:
                await ledger.links.record([claim(slug, customer_id=f"customer of {slug}")])
            for slug in some[:3]:
                found = await ledger.links.get(slug)
                assert found is not None
                assert found.customer_id == f"customer of {slug}"
            await ledger.ping()

        await asyncio.gather(*(work(number) for number in range(20)))
        await ledger.audit.add("ops", "pause", "m", "why", {"slug": "one-off-1"})
        [entry] = await ledger.audit.list()
        assert entry.detail == {"slug": "one-off-1"}
        unclaimed = [slug for slug in slugs if int(slug.rpartition("-")[2]) % 10 >= 3]
        assert len(await ledger.links.move(unclaimed, State.RETIRED, at=NOW)) == 140
        [walk, *_] = await ledger.pruning.walks()
        old = await ledger.pruning.look(walk, NOW + timedelta(days=1), None)
        done = await ledger.pruning.prune([each.slug for each in old], NOW + timedelta(days=1))
        assert done.links == 140
        assert await ledger.links.insert_fresh([fresh(slug) for slug in unclaimed]) == set()
        # All of it is where the address says, and nothing elsewhere.
        there: Any = await asyncpg.connect(postgres.url(pooled_url.rpartition("/")[2]))
        schemas = "SELECT DISTINCT schemaname::text FROM pg_tables WHERE schemaname !~ '^(pg_|inf)'"
        found = [row[0] for row in await there.fetch(schemas)]
        await there.close()
        assert found == ["links" if "schema" in given else "public"]
    finally:
        await ledger.close()


@pytest.mark.parametrize("given", ["", "?schema=links"])
async def test_no_transaction_outlasts_its_bounds_behind_a_pooler(
    pooled_url: str, given: str, postgres: PostgresServer
) -> None:
    """A worker that dies in a transaction keeps no row locked, as without a pooler."""
    ledger = Ledger.open(pooled_url + given)
    names = ("statement_timeout", "idle_in_transaction_session_timeout")
    bounds = select(*(func.current_setting(name) for name in names))
    database = ledger._database
    for run in (database.read, database.write, database.migrate):
        longest = "10min" if run == database.migrate else "15s"
        assert await run(lambda at: tuple(at.execute(bounds).one())) == (longest, "30s")
    await ledger.upgrade()
    await ledger.close()
    # Nothing of it stays with the server's connections, which others use, too.
    other: Any = await asyncpg.connect(pooled_url, statement_cache_size=0)
    assert await other.fetchval("SHOW statement_timeout") == "0"
    await other.close()
