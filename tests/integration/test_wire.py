"""Test the claim script's connections: a reply reaches its own caller, or nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from pool.errors import StoreUnavailable
from pool.store.bindings import CustomerNames
from pool.store.connect import open_redis
from pool.store.recovery import RecoverySteps
from pool.store.wire import Wire
from tests.redis_process import RedisServer


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Return a client as the product opens it."""
    client = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def wire(redis: Redis) -> AsyncIterator[Wire]:
    """Return a wire without any connection yet."""
    wire = Wire(redis)
    yield wire
    wire.close()


async def blocked(redis: Redis) -> None:
    """Wait until the server holds a blocking call of this client."""
    async with asyncio.timeout(60):
        while (await redis.info("clients"))["blocked_clients"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_who_stops_waiting_leaves_no_reply_to_the_next(wire: Wire) -> None:
    """The reply to a cancelled call is never taken for another's when it comes."""
    for number in range(5):
        await wire.call("PING")  # connected: what is left next has been sent
        call = asyncio.create_task(wire.call("BLPOP", "nothing", "0.05"))
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
        assert await wire.call("ECHO", f"asked-{number}") == f"asked-{number}".encode()


async def test_a_connection_that_was_ended_is_replaced(redis: Redis, wire: Wire) -> None:
    """The first caller may get an error, and the next call is served."""
    assert await wire.call("ECHO", "a") == b"a"
    waiting = asyncio.create_task(wire.call("BLPOP", "nothing", "0"))
    await blocked(redis)
    await redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        await waiting
    assert await wire.call("ECHO", "b") == b"b"


async def test_a_call_at_once_is_answered_or_not_made(wire: Wire) -> None:
    """Without an idle connection nothing is sent, and with one the reply is delivered."""
    told: list[Any] = []
    assert wire.call_at_once(("SET", "a", "1"), told.append) is None
    assert await wire.call("GET", "a") is None
    assert wire.call_at_once(("SET", "a", "2"), told.append) is not None
    assert wire.call_at_once(("SET", "a", "3"), told.append) is None  # the one there is
    assert await wire.call("GET", "a") == b"2"
    assert wire.call_at_once(("NONSENSE",), told.append) is not None
    assert await wire.call("PING") == b"PONG"
    await until(lambda: len(told) == 2)
    assert [str(each) for each in told] == ["b'OK'", str(told[1])]
    assert isinstance(told[1], ResponseError)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_calls_that_go_together_are_one_write_and_answered_in_order(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its own reply, which may be an error, and the connection can be used again."""
    told: list[Any] = []
    await wire.call("PING")
    [line] = wire._idle
    writes: list[bytes] = []
    transport = line._transport
    write = SimpleNamespace(write=lambda data: (writes.append(data), transport.write(data)))
    monkeypatch.setattr(line, "_transport", write)
    with wire.together():
        for number in range(3):
            assert wire.call_at_once(("ECHO", str(number)), told.append) is not None
        assert wire.call_at_once(("NONSENSE",), told.append) is not None
        assert wire.call_at_once(("ECHO", "last"), told.append) is not None
        assert not writes
    assert len(writes) == 1
    await until(lambda: len(told) == 5)
    assert told[:3] == [b"0", b"1", b"2"]
    assert isinstance(told[3], ResponseError)
    assert told[4] == b"last"
    assert wire._idle == [line]
    assert await wire.call("ECHO", "again") == b"again"
    with wire.together():
        pass
    assert await wire.call("PING") == b"PONG"


async def test_of_calls_that_go_together_all_hear_of_the_end(redis: Redis, wire: Wire) -> None:
    """If one is abandoned or its connection is killed, the others get RedisConnectionError.

    The abandoned call itself gets no reply.
    """
    for way in ("abandoned", "killed"):
        told: list[Any] = []
        ignored: list[Any] = []
        await wire.call("PING")
        with wire.together():
            first = wire.call_at_once(("BLPOP", "nothing", "0"), ignored.append)
            for _ in range(2):
                assert wire.call_at_once(("PING",), told.append) is not None
        await asyncio.sleep(0.02)
        assert told == []
        if way == "abandoned":
            assert first is not None
            first()
        else:
            await redis.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: len(told) == 2)  # noqa: B023 - called within the turn
        assert [type(each) for each in told] == [RedisConnectionError] * 2
        assert len(ignored) == (way == "killed")
        assert not wire._busy
        assert await wire.call("ECHO", "a") == b"a"


async def test_an_abandoned_reply_reaches_nobody(redis: Redis, wire: Wire) -> None:
    """It is not given to another call, and a lost connection is reported once."""
    told: list[Any] = []
    await wire.call("PING")
    abandon = wire.call_at_once(("BLPOP", "nothing", "0.05"), told.append)
    assert abandon is not None
    abandon()
    assert await wire.call("ECHO", "a") == b"a"
    await asyncio.sleep(0.1)
    assert told == []
    assert wire.call_at_once(("BLPOP", "nothing", "0"), told.append) is not None
    await blocked(redis)
    await redis.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: len(told) == 1)
    assert wire.call_at_once(("PING",), told.append) is None
    [lost] = told
    assert isinstance(lost, RedisConnectionError)
    assert await wire.call("PING") == b"PONG"
    assert wire.call_at_once(("BLPOP", "nothing", "0"), told.append) is not None
    wire.close()
    assert isinstance(told[1], RedisConnectionError)


async def test_a_connection_that_ends_while_it_is_written_to_is_only_lost(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop has closed it unnoticed: nothing was sent, and the next call succeeds."""

    def closed(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    for at_once in (True, False):
        await wire.call("PING")
        [line] = wire._idle
        monkeypatch.setattr(line, "_transport", SimpleNamespace(write=closed, abort=int))
        if at_once:
            assert wire.call_at_once(("PING",), pytest.fail) is None
        else:
            with pytest.raises(RedisConnectionError, match="handler is closed"):
                await wire.call("PING")
        assert not wire._idle
        assert not wire._busy


class Dying:
    """A connection whose server dies while it connects."""

    closed = False

    async def connect(self) -> None:
        raise RuntimeError("the handler is closed")

    def _close(self) -> None:
        self.closed = True


async def test_a_redis_that_dies_while_it_is_connected_to_is_lost() -> None:
    """It counts as unavailable like any other Redis, and the caller may ask again."""
    connection = Dying()
    pool = SimpleNamespace(make_connection=lambda: connection)
    wire = Wire(cast("Any", SimpleNamespace(connection_pool=pool)))
    with pytest.raises(RedisConnectionError, match="handler is closed"):
        await wire.call("PING")
    assert connection.closed


class Deaf:
    """A connection whose library loses cancellations while it connects."""

    def __init__(self) -> None:
        self.closed = False
        self.connected = asyncio.Event()

    async def connect(self) -> None:
        while not self.connected.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.connected.wait()

    def _close(self) -> None:
        self.closed = True


async def test_nobody_waits_longer_because_a_cancellation_is_lost() -> None:
    """A claim's deadline holds in any state of the library, and the connection is closed at
    last.
    """
    connection = Deaf()
    pool = SimpleNamespace(make_connection=lambda: connection)
    wire = Wire(cast("Any", SimpleNamespace(connection_pool=pool)))
    asyncio.get_running_loop().call_later(30, connection.connected.set)  # who waits fails below
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await wire.call("PING")
    assert not connection.connected.is_set()
    assert not connection.closed
    connection.connected.set()
    async with asyncio.timeout(30):
        while not connection.closed:  # noqa: ASYNC110 - a connection has no event for it
            await asyncio.sleep(0.01)


async def test_a_look_at_fences_gives_up_on_a_redis_that_says_nothing(
    redis_server: RedisServer, wire: Wire, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence watch has to be able to look again."""
    recovery = RecoverySteps(redis, CustomerNames(b"secret"), wire)
    assert [each.fence for each in await recovery.fences(["intro"])] == ["fallen"]
    monkeypatch.setattr("pool.store.recovery.CALL_SECONDS", 0.1)
    assert redis_server.pid
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailable):
                await recovery.fences(["intro"])
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert len(await recovery.fences(["intro"])) == 1
