"""Provide the fixtures that all tests share: a Redis, real or fake, and a ledger."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as blocking_redis
import structlog
from httpx._transports import default as httpx_transports
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis
from sqlalchemy import Engine

from bench.redis_cluster import CLI, SERVER
from pool.ledger import Ledger, sqlite
from pool.store import Store
from pool.store.bindings import CustomerNames
from pool.up.redis_server import NoRedisServer
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.aside import in_thread, migrated
from tests.disturbed_cluster import DisturbedCluster
from tests.fake_redis import FakeRedisServer
from tests.in_process import InProcess, in_process
from tests.kept import Kept
from tests.own_ports import keep_apart
from tests.postgres import MIGRATED, PostgresServer, database, start_migrated
from tests.redis_process import RedisDidNotStart, RedisServer
from tests.shares import ByShare, share_of

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 1024**3


def _keep_files_in_memory() -> None:
    """Put temporary files on the RAM disk, if there is one with room and TMPDIR is not set.

    Databases and Redis wait for the disk at every write, and the tests with them. It makes no
    other difference: what a killed process wrote is there in either case.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    disk = os.statvfs(_MEMORY)
    if disk.f_bavail * disk.f_frsize >= _ROOM_BYTES and not disk.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # to be looked for again


_keep_files_in_memory()
keep_apart()

# A shell has what it runs in the background ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until the first test

# Each client of httpx would read all authorities' certificates, for 20 ms, before it speaks plain
# HTTP to this machine; most waits of the trials open one again and again.
httpx_transports.create_ssl_context = functools.cache(httpx.create_ssl_context)

_make_engine = sqlite._engine
_first: list[Engine] = []


def _engine_that_shares(path: Path, connections: int, options: dict[str, Any]) -> Engine:
    """Return an engine that compiles no statement which another has compiled, on whatever file."""
    engine = _make_engine(path, connections, options)
    if not _first:
        # Otherwise a dialect learns this from its own first connection.
        engine.dialect.server_version_info = engine.dialect._get_server_version_info(None)
        _first.append(engine)
    engine.dialect, engine._compiled_cache = _first[0].dialect, _first[0]._compiled_cache
    return engine


sqlite._engine = _engine_that_shares

# Each of some hundred processes would compile the whole source anew where this is set.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says something about the machine alone.
settings.register_profile(
    "unhurried",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")

pytest.register_assert_rewrite(
    "commands",
    "problem_answers",
    "tests.unit.store_contract",
    "tests.unit.store_replay_contract",
    "tests.unit.store_upkeep_contract",
    "tests.unit.history_contract",
    "tests.unit.recovery_contract",
    "tests.unit.recovery_disturbed_contract",
    "tests.unit.recovery_stage",
    "tests.unit.recorder_contract",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Share the tests out as tests/shares.py says."""
    return ByShare(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests that need a ledger, whatever its kind, run on either database."""
    parser.addoption(
        "--ledger",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="the ledger of tests that are about neither (sqlite)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of a share together, and those that take long first.

    What drives browsers and whole products gets a second try: on a machine that does something else
    for half a minute, a patience of theirs may run out. So do tests on a Redis Cluster whose slots
    they move: a message that a master sent before may undo a move for a moment. The summary names
    each test that needed it. What holds the promises (units, contracts, trials) has one try.
    """
    items.sort(key=lambda item: share_of(item.nodeid)[0])
    for item in items:
        of_products = item.nodeid.startswith(("tests/browser/", "tests/acceptance/"))
        if of_products or "masters_alone" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Let the garbage collector work, but not look through all that was collected again and again.

    It found nothing while all was imported and collected, and took a sixth of that time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)  # most of what tests make is gone before it is looked at
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Find what tests left in circles, which pytest would look for five times in all there is.

    That, and the look that Python takes once more when it ends, took each process four seconds.
    """
    gc.collect()
    gc.freeze()


_KEPT = Kept()


@pytest.fixture(scope="session")
def kept() -> Kept:
    """Return what keeps things running for all tests of a share: `kept(name, start)`."""
    return _KEPT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """End what was kept after the last test of its share."""
    try:
        return (yield)
    finally:
        if nextitem is None or share_of(nextitem.nodeid) != share_of(item.nodeid):
            _KEPT.end()


_BROUGHT_BY = re.compile(r"apt-get install ([\w.+ -]+)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report in one line which tests were skipped because programs are missing, and how to install
    them.
    """
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    packages = sorted(
        {name for text in skipped for each in _BROUGHT_BY.findall(text) for name in each.split()}
    )
    if packages:
        lacking = sum(_BROUGHT_BY.search(text) is not None for text in skipped)
        terminalreporter.write_line(
            f"{lacking} tests were skipped for want of programs; this brings them: "
            f"apt-get install {' '.join(packages)}"
        )


# -- fake ------------------------------------------------------------------------


@pytest.fixture
def fake_server() -> FakeRedisServer:
    """Return a fake Redis server of this test alone."""
    return FakeRedisServer()


@pytest.fixture
async def fake_redis(fake_server: FakeRedisServer) -> AsyncIterator[AnyRedis]:
    """Return a fake Redis and a store on it."""

    def open_store() -> Store:
        return Store(fake_server.client_of_store(), CustomerNames(SECRET_KEY))

    async def restart() -> None:
        fake_server.restart()

    async def fail_back() -> None:
        fake_server.fail_back()

    fake = AnyRedis(open_store(), fake_server.client(), restart, fail_back, open_store)
    yield fake
    await fake.close()


# -- real ------------------------------------------------------------------------


def _started(directory: Path, server: Path | None = None) -> RedisServer:
    """Return a running server. Without one the test is skipped, but it fails where CI is set."""
    try:
        started = RedisServer(directory, server=server)
        started.start()
    except (NoRedisServer, RedisDidNotStart) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Redis server: {error}")
    return started


@pytest.fixture(scope="session")
def running_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Path | None], RedisServer]]:
    """Start each server once, when it is first asked for; None is the product's choice."""
    running: dict[Path | None, RedisServer] = {}

    def get(server: Path | None) -> RedisServer:
        if server not in running:
            running[server] = _started(tmp_path_factory.mktemp("redis"), server)
        return running[server]

    yield get
    for each in running.values():
        each.kill()


@pytest.fixture
def redis_server(
    request: pytest.FixtureRequest, running_servers: Callable[[Path | None], RedisServer]
) -> RedisServer:
    """Return a real Redis server, empty, shared by the tests of a session."""
    server = running_servers(getattr(request, "param", None))
    server.start()
    with blocking_redis.Redis.from_url(server.url()) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return server


@pytest.fixture
async def real_redis(redis_server: RedisServer) -> AsyncIterator[AnyRedis]:
    """Return a real Redis and a store on it."""

    def open_store() -> Store:
        return Store.open(redis_server.url(), SECRET_KEY)

    bare = Redis.from_url(redis_server.url(), protocol=2)

    async def restart() -> None:
        # In a thread, so that the clients see their connections end.
        await asyncio.to_thread(redis_server.restart)

    async def fail_back() -> None:
        # A replica of nobody for a moment; becoming master again gives a new master_replid.
        await bare.replicaof("127.0.0.1", "1")
        await bare.replicaof("NO", "ONE")

    real = AnyRedis(open_store(), bare, restart, fail_back, open_store)
    yield real
    await real.close()


@pytest.fixture(scope="session")
def masters_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedCluster]:
    """Run a Redis Cluster of three masters without replicas, for tests that lose none of them."""
    if SERVER is None or CLI is None:
        pytest.skip("no Redis Cluster can be had: apt-get install redis-server")
    cluster = DisturbedCluster(
        tmp_path_factory.mktemp("cluster"), "--enable-debug-command", "yes", replicas=0
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


# -- the ledger --------------------------------------------------------------------


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with all tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("ledger") / "template.sqlite3"
    in_thread(migrated(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Return the address of a ledger with tables and nothing in them."""
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite3")
    return f"sqlite:///{tmp_path}/ledger.sqlite3"


@pytest.fixture
async def sqlite_ledger(sqlite_url: str) -> AsyncIterator[Ledger]:
    """Return a ledger with tables and nothing in them."""
    ledger = Ledger.open(sqlite_url)
    yield ledger
    await ledger.close()


@pytest.fixture(scope="session")
def common_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of this run, in which each of its processes has one of its own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres(common_directory: Path) -> Iterator[PostgresServer]:
    try:
        server = start_migrated(common_directory)
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
    return MIGRATED


@pytest.fixture
async def any_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Return the address of a ledger with tables and nothing in them, where any kind will do.

    It is SQLite, which is quicker, unless the option --ledger says otherwise.
    """
    if request.config.getoption("--ledger") == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with database(server, request.getfixturevalue("migrated_postgres")) as url:
        yield url


@pytest.fixture
async def any_ledger(any_url: str) -> AsyncIterator[Ledger]:
    """Return a ledger with tables and nothing in them, where any kind will do."""
    ledger = Ledger.open(any_url)
    yield ledger
    await ledger.close()


# -- all of it in this process ---------------------------------------------------------


@pytest.fixture
async def product(
    request: pytest.FixtureRequest, fake_redis: AnyRedis, any_url: str
) -> AsyncIterator[InProcess]:
    """Return the product on a fake Redis, a ledger and scripted providers; `parametrize` it
    indirectly with settings where the defaults will not do.
    """
    async with in_process(fake_redis, any_url, **getattr(request, "param", {})) as product:
        yield product


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Put logging back, so that no test meets what another has set.

    A traceback is printed plainly: drawn with all that the library would draw, it takes seconds.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    yield
    structlog.reset_defaults()
