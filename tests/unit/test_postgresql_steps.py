"""Test what the ledger asks of PostgreSQL's driver: time-outs, pools, and what poolers need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import NullPool

from pool.errors import LedgerUnavailable
from pool.ledger import postgresql
from pool.ledger.postgresql import Postgresql, _is_pooled, _PooledConnection
from pool.ledger.postgresql_url import PostgresqlAddress

DSN = "postgresql://ledger.test/db"
TIMES = {
    "timeout": 3,
    "server_settings": {
        "application_name": "linkpool",
        "statement_timeout": "15000",
        "idle_in_transaction_session_timeout": "30000",
    },
}
POOLING = {
    "pool_timeout": 5, "pool_pre_ping": True, "pool_use_lifo": True, "pool_recycle": 1800,
}  # fmt: skip


class Connection:
    """A connection of the driver that answers one question, within a transaction."""

    def __init__(self, answer: object, encoding: str = "UTF8") -> None:
        self.answer, self.within, self.closed = answer, False, list[object]()
        self.encoding = encoding

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self.within = True
        yield
        self.within = False

    async def fetchval(self, question: str) -> object:
        assert self.within
        assert question == "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self, **how: object) -> None:
        self.closed.append(how)

    def get_settings(self) -> object:
        return SimpleNamespace(server_encoding=self.encoding)

    def terminate(self) -> None:
        self.closed.append("terminated")


class Driver:
    """Take the place of asyncpg.connect()."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: object = "15000"
        self.encoding = "UTF8"
        self.refuses: Exception | None = None
        self.made: list[Connection] = []
        monkeypatch.setattr(asyncpg, "connect", self.connect)

    async def connect(self, dsn: str, **options: Any) -> Connection:
        self.asked.append((dsn, options))
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        self.made.append(Connection(self.answer, self.encoding))
        return self.made[-1]


class Engine:
    """Take the place of SQLAlchemy's engine, and say by whom work was run."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url, self.options, self.disposed, self.execution = url, options, 0, dict[str, Any]()
        self.sync_engine = object()

    def execution_options(self, **options: Any) -> Engine:
        other = Engine(self.url, **self.options)
        other.execution = options
        return other

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Ran]:
        yield Ran(self, "connect")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Ran]:
        yield Ran(self, "begin")

    async def dispose(self) -> None:
        self.disposed += 1


class Ran:
    def __init__(self, engine: Engine, how: str) -> None:
        self.engine, self.how = engine, how

    async def run_sync(self, work: Any) -> Any:
        return work((self.engine, self.how))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Return the engines in the order in which they are made."""
    made: list[Engine] = []

    def make(url: str, **options: Any) -> Engine:
        made.append(Engine(url, **options))
        return made[-1]

    monkeypatch.setattr(postgresql, "create_async_engine", make)
    return made


def connecting(engine: Engine) -> dict[str, Any]:
    """Return how the engine connects, without the function that does it."""
    return {k: v for k, v in engine.options["connect_args"].items() if k != "async_creator_fn"}


def without_connecting(engine: Engine) -> dict[str, Any]:
    return {name: value for name, value in engine.options.items() if name != "connect_args"}


async def opened(engine: Engine, driver: Driver) -> dict[str, Any]:
    """Return what the driver is asked when the engine opens a connection."""
    driver.asked.clear()
    await engine.options["connect_args"]["async_creator_fn"]()
    [(dsn, options)] = driver.asked
    assert dsn == DSN
    return options


async def test_reads_writes_and_migrations_have_engines_of_their_own(
    driver: Driver, engines: list[Engine]
) -> None:
    """Reads see each statement's moment; what migrates may take ten minutes, and keeps nothing."""
    database = Postgresql(PostgresqlAddress(DSN), 5, hide_parameters=True)
    assert driver.asked == []
    reader, how = await database.read(lambda ran: ran)  # type: ignore[arg-type,return-value]
    assert (how, reader.execution) == ("connect", {"isolation_level": "AUTOCOMMIT"})
    writer, migrator = engines
    assert await database.write(lambda ran: ran) == (writer, "begin")
    assert await database.migrate(lambda ran: ran) == (migrator, "begin")
    assert len(driver.asked) == 1
    assert without_connecting(writer) == {
        **POOLING, "pool_size": 2, "max_overflow": 3, "hide_parameters": True,
    }  # fmt: skip
    assert without_connecting(migrator) == {"poolclass": NullPool, "hide_parameters": True}
    assert {each.url for each in engines} == {"postgresql+asyncpg://"}
    assert [connecting(each) for each in engines] == [{}, {}]
    assert await opened(writer, driver) == TIMES | {"command_timeout": 16}
    slow = TIMES["server_settings"] | {"statement_timeout": "600000"}  # type: ignore[operator]
    assert await opened(migrator, driver) == TIMES | {
        "server_settings": slow, "command_timeout": 601,
    }  # fmt: skip
    await database.close()
    assert (writer.disposed, migrator.disposed) == (1, 1)


@pytest.mark.parametrize(("connections", "kept", "more"), [(1, 1, 0), (2, 2, 0), (9, 2, 7)])
async def test_no_more_connections_are_opened_than_a_process_may(
    driver: Driver, engines: list[Engine], connections: int, kept: int, more: int
) -> None:
    """Two of them stay open while nothing is asked."""
    await Postgresql(PostgresqlAddress(DSN), connections).write(lambda ran: ran)
    assert driver.made[0].closed == [{"timeout": 3}]
    options = engines[0].options
    assert (options["pool_size"], options["max_overflow"]) == (kept, more)


@pytest.mark.parametrize(("said", "asks"), [(True, 0), (False, 1)])
@pytest.mark.usefixtures("begins")
async def test_behind_a_pooler_nothing_outlives_a_transaction(
    driver: Driver, engines: list[Engine], said: bool, asks: int
) -> None:
    """Reads are transactions, too; no statement has a name, and no connection a setting."""
    driver.answer = "0"
    database = Postgresql(PostgresqlAddress(DSN, pooled=said), 5)
    assert await database.read(lambda ran: ran) == (engines[0], "connect")
    assert len(driver.asked) == asks
    for engine, seconds in zip(engines, (16, 601), strict=True):
        options = connecting(engine)
        assert options.pop("prepared_statement_name_func")() == ""
        assert options == {"prepared_statement_cache_size": 0}
        assert await opened(engine, driver) == {
            "timeout": 3,
            "command_timeout": seconds,
            "statement_cache_size": 0,
            "connection_class": _PooledConnection,
        }


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the engines on which a transaction's begin is listened for, with the listener."""
    heard: list[Any] = []

    def listen(engine: object, name: str, hears: object) -> None:
        assert name == "begin"
        heard.append((engine, hears))

    monkeypatch.setattr(postgresql.event, "listen", listen)
    return heard


async def test_a_connection_searches_the_schema_that_the_address_names(
    driver: Driver, engines: list[Engine], begins: list[Any]
) -> None:
    """The connection sets its schema once, when it is opened."""
    await Postgresql(PostgresqlAddress(DSN, schema="links"), 5).write(lambda ran: ran)
    assert len(engines) == 2
    for engine in engines:
        assert (await opened(engine, driver))["server_settings"]["search_path"] == '"links"'
    assert begins == []


@pytest.mark.parametrize("schema", [None, "links"])
async def test_behind_a_pooler_each_transaction_sets_its_bounds_and_its_schema(
    driver: Driver, engines: list[Engine], begins: list[Any], schema: str | None
) -> None:
    """In one statement, and for this transaction alone."""
    address = PostgresqlAddress(DSN, pooled=True, schema=schema)
    await Postgresql(address, 5).write(lambda ran: ran)
    assert [engine for engine, _ in begins] == [engine.sync_engine for engine in engines]
    said: list[str] = []
    for _, hears in begins:
        hears(SimpleNamespace(exec_driver_sql=said.append))
    path = "" if schema is None else """, set_config('search_path', '"links"', true)"""
    assert said == [
        f"SELECT set_config('statement_timeout', '{longest}', true), "
        f"set_config('idle_in_transaction_session_timeout', '30000', true){path}"
        for longest in (15_000, 600_000)
    ]
    assert "server_settings" not in await opened(engines[0], driver)


async def test_the_first_caller_opens_and_the_others_wait(
    driver: Driver, engines: list[Engine]
) -> None:
    """All use the same pool."""
    database = Postgresql(PostgresqlAddress(DSN), 5)
    ran = await asyncio.gather(*(database.write(lambda ran: ran) for _ in range(3)))
    assert [engine for engine, _ in ran] == [engines[0]] * 3  # type: ignore[attr-defined]
    assert (len(engines), len(driver.asked)) == (2, 1)


async def test_what_was_never_used_is_closed_without_a_word(driver: Driver) -> None:
    await Postgresql(PostgresqlAddress(DSN), 5).close()
    assert driver.asked == []


@pytest.mark.parametrize(("answer", "pooled"), [("15000", False), ("0", True), ("1500", True)])
async def test_a_pooler_drops_what_a_connection_sets(
    driver: Driver, answer: str, pooled: bool
) -> None:
    """linkpool recognises a pooler by this."""
    driver.answer = answer
    assert await _is_pooled(DSN) is pooled
    assert driver.asked == [(DSN, TIMES | {"command_timeout": 16, "statement_cache_size": 0})]
    assert driver.made[0].closed == [{"timeout": 3}]


async def test_a_database_that_cannot_hold_all_names_is_refused(driver: Driver) -> None:
    """Claims of some customers could never be recorded there, and would keep others waiting."""
    driver.encoding = "LATIN1"
    with pytest.raises(LedgerUnavailable, match="LATIN1") as raised:
        await _is_pooled(DSN)
    assert "UTF8" in raised.value.refusal
    assert driver.made[0].closed == ["terminated"]


async def test_a_pooler_refuses_what_a_connection_sets(driver: Driver) -> None:
    """Any other refusal is an error, and the connection is closed."""
    driver.refuses = asyncpg.ProtocolViolationError("unsupported startup parameter: x")
    assert await _is_pooled(DSN) is True
    driver.refuses = asyncpg.ProtocolViolationError("something else")
    with pytest.raises(asyncpg.ProtocolViolationError, match="something else"):
        await _is_pooled(DSN)
    driver.refuses, driver.answer = None, asyncpg.QueryCanceledError("too slow")
    with pytest.raises(asyncpg.QueryCanceledError):
        await _is_pooled(DSN)
    assert driver.made[0].closed == [{"timeout": 3}]


async def test_a_type_is_looked_up_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler could give its second statement another connection."""
    within = Connection("")
    found: list[object] = []

    async def set_type_codec(_self: object, *args: object, **options: object) -> None:
        found.append((args, options, within.within))

    class Pooled(_PooledConnection):
        def __init__(self) -> None:
            """Open nothing."""

        def __del__(self) -> None:
            """Miss nothing."""

        def transaction(self) -> Any:
            return within.transaction()

    monkeypatch.setattr(asyncpg.Connection, "set_type_codec", set_type_codec)
    await Pooled().set_type_codec("json", schema="pg_catalog")
    assert found == [(("json",), {"schema": "pg_catalog"}, True)]
