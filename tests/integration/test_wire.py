"""The claim script's connections: a reply reaches who asked for it, or nobody."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from pool.store.connect import open_redis
from pool.store.wire import Wire
from pool.up.redis_server import RedisServer


async def test_who_stops_waiting_leaves_no_reply_to_the_next(redis_server: RedisServer) -> None:
    """A cancelled call's reply, which still comes, is never taken for another's."""
    redis = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    wire = Wire(redis)
    try:
        for number in range(5):
            await wire.call("PING")  # connected: what is left next has been sent
            call = asyncio.create_task(wire.call("BLPOP", "nothing", "0.05"))
            await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            assert await wire.call("ECHO", f"asked-{number}") == f"asked-{number}".encode()
    finally:
        wire.close()
        await redis.aclose(close_connection_pool=True)


async def test_a_connection_that_was_ended_is_replaced(redis_server: RedisServer) -> None:
    """Whoever finds it ended is told, at the latest the next call is served."""
    redis = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    wire = Wire(redis)
    try:
        assert await wire.call("ECHO", "a") == b"a"
        waiting = asyncio.create_task(wire.call("BLPOP", "nothing", "0"))
        await asyncio.sleep(0.1)
        await redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(RedisConnectionError):
            await waiting
        assert await wire.call("ECHO", "b") == b"b"
    finally:
        wire.close()
        await redis.aclose(close_connection_pool=True)


async def test_a_call_at_once_is_told_or_not_made(redis_server: RedisServer) -> None:
    """Without a connection that stands ready nothing is sent; with one the reply is told."""
    redis = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    wire = Wire(redis)
    told: list[Any] = []
    try:
        assert wire.call_at_once(("SET", "a", "1"), told.append) is None
        assert await wire.call("GET", "a") is None
        assert wire.call_at_once(("SET", "a", "2"), told.append) is not None
        assert wire.call_at_once(("SET", "a", "3"), told.append) is None  # the one there is
        assert await wire.call("GET", "a") == b"2"
        assert wire.call_at_once(("NONSENSE",), told.append) is not None
        assert await wire.call("PING") == b"PONG"
        await asyncio.sleep(0.01)
        assert [str(each) for each in told] == ["b'OK'", str(told[1])]
        assert isinstance(told[1], ResponseError)
    finally:
        wire.close()
        await redis.aclose(close_connection_pool=True)


async def test_what_is_abandoned_is_told_to_nobody(redis_server: RedisServer) -> None:
    """Nor is its reply taken for another's; a connection that is lost is told, once."""
    redis = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    wire = Wire(redis)
    told: list[Any] = []
    try:
        await wire.call("PING")
        abandon = wire.call_at_once(("BLPOP", "nothing", "0.05"), told.append)
        assert abandon is not None
        abandon()
        assert await wire.call("ECHO", "a") == b"a"
        await asyncio.sleep(0.1)
        assert told == []
        assert wire.call_at_once(("BLPOP", "nothing", "0"), told.append) is not None
        await asyncio.sleep(0.02)
        await redis.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.05)
        assert wire.call_at_once(("PING",), told.append) is None
        [lost] = told
        assert isinstance(lost, RedisConnectionError)
        assert await wire.call("PING") == b"PONG"
        assert wire.call_at_once(("BLPOP", "nothing", "0"), told.append) is not None
        wire.close()
        assert isinstance(told[1], RedisConnectionError)
    finally:
        wire.close()
        await redis.aclose(close_connection_pool=True)


async def test_a_connection_that_ends_while_it_is_written_to_is_only_lost(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop has closed it and told nobody yet: nothing was sent, the next call works."""
    redis = open_redis(redis_server.url(), timeout_seconds=2, max_connections=4)
    wire = Wire(redis)

    def closed(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    try:
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
    finally:
        wire.close()
        await redis.aclose(close_connection_pool=True)


class Dying:
    """A connection whose server dies while it connects."""

    closed = False

    async def connect(self) -> None:
        raise RuntimeError("the handler is closed")

    def _close(self) -> None:
        self.closed = True


async def test_a_redis_that_dies_while_it_is_connected_to_is_lost() -> None:
    """As any other that is away: who asks may ask again."""
    connection = Dying()
    pool = SimpleNamespace(make_connection=lambda: connection)
    wire = Wire(cast("Any", SimpleNamespace(connection_pool=pool)))
    with pytest.raises(RedisConnectionError, match="handler is closed"):
        await wire.call("PING")
    assert connection.closed


class Deaf:
    """A connection whose library loses cancellations while it connects."""

    closed = False

    async def connect(self) -> None:
        ends = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < ends:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1.0)

    def _close(self) -> None:
        self.closed = True


async def test_nobody_waits_longer_because_a_cancellation_is_lost() -> None:
    """A claim's deadline holds whatever the library does; the connection is closed in the end."""
    connection = Deaf()
    pool = SimpleNamespace(make_connection=lambda: connection)
    wire = Wire(cast("Any", SimpleNamespace(connection_pool=pool)))
    started = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await wire.call("PING")
    assert asyncio.get_running_loop().time() - started < 0.5
    assert not connection.closed
    await asyncio.sleep(1.2)
    assert connection.closed
