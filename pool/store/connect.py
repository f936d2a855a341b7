"""Open connections to Redis, and translate its failures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pool.config.redis_address import RedisAddress, parse_redis
from pool.errors import StoreUnavailable
from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.topology import OneMasterAway, SlotUnavailable, Topology

SENTINEL_SECONDS = 0.5  # for each Sentinel to say where the master is


_LINE: dict[str, Any] = {
    # With RESP3 redis-py 8 listens for maintenance notifications, and then no longer looks
    # whether a pooled connection has been closed by the server, or holds an old reply,
    # before it uses it.
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
}


def open_redis(url: str, *, timeout_seconds: float, max_connections: int) -> Redis:
    """Return a client that never repeats a command, since only callers know what is safe to repeat.

    Raise SettingsError if the address is malformed.
    """
    address = parse_redis(url)
    options: dict[str, Any] = {
        "max_connections": max_connections,
        "timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(1.0, timeout_seconds),
        "db": address.database,
        "username": address.username,
        "password": address.password,
        **_LINE,
        **(address.tls or {}),
    }
    if address.has_sentinels:
        return Redis(connection_pool=_master_pool(address, options))
    if address.path:
        return _one(UnixDomainSocketConnection, path=address.path, **options)
    kind = Connection if address.tls is None else SSLConnection

    def at(host: str, port: int) -> Redis:
        return _one(kind, host=host, port=port, socket_keepalive=True, **options)

    if address.is_cluster:
        return ClusterRedis(Topology(address.hosts, at))
    [(host, port)] = address.hosts
    return at(host, port)


def _one(kind: type[AbstractConnection], **options: Any) -> Redis:
    return Redis(connection_pool=BlockingConnectionPool(connection_class=kind, **options))


async def masters_of(redis: Redis) -> list[Redis]:
    """Return a client of each server that holds pools: of this one, or of a Cluster's masters."""
    if isinstance(redis, ClusterRedis):
        return [master.redis for master in await redis.topology.masters()]
    return [redis]


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """A few connections to the Redis that is master now. Callers wait for a free one."""

    async def aclose(self) -> None:
        """Close all connections, including those to the Sentinels."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def _master_pool(address: RedisAddress, options: dict[str, Any]) -> _MasterPool:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={
            "socket_timeout": SENTINEL_SECONDS,
            "socket_connect_timeout": SENTINEL_SECONDS,
            "socket_keepalive": True,
            **_LINE,
            **address.sentinel_options(),
        },
    )
    return _MasterPool(  # type: ignore[no-untyped-call]
        address.service, sentinel, ssl=address.tls is not None, socket_keepalive=True, **options
    )


# These errors come from the state of Redis, not from the command: it is full, cannot write to its
# disk, is a replica, has too few replicas, is busy, or no longer accepts our password.
_OUTAGES = (
    OutOfMemoryError,
    ReadOnlyError,
    AuthenticationError,
    NoPermissionError,
    TryAgainError,
    ClusterDownError,
    MasterDownError,
)
# The same in words: errors that come through a script, or have no class in the library.
OUTAGE = re.compile(r"(?:^|[ -])(?:OOM|MISCONF|READONLY|NOREPLICAS|BUSY|UNKILLABLE|MASTERDOWN)\b")


async def run_each(pipe: Pipeline, *, reads: bool = False) -> list[Any]:
    """Run a pipeline whose commands concern a meeting each. Return the replies.

    A key of another type than linkpool writes concerns its meeting only: its reply is None, and
    `Store.look` says what is wrong. The same holds, for a pipeline that `reads`, if a master of a
    Redis Cluster is away, unless all are. Raise any other error.
    """
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    spared = OneMasterAway | SlotUnavailable
    reads = reads and not all(isinstance(reply, spared) for reply in replies)
    for place, reply in enumerate(replies):
        if isinstance(reply, Exception):
            if "WRONGTYPE" not in str(reply) and not (reads and isinstance(reply, spared)):
                raise reply
            replies[place] = None
    return replies


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise StoreUnavailable for every failure of Redis, whatever the client raises."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise store_error(error) from error


def _of_sentinels(error: MasterNotFoundError) -> str:
    """Return why no Sentinel names a master, without the library's names of all its objects."""
    service, _, rest = str(error).partition(" : ")
    # Each is named by its class, of which newer versions say nothing more.
    kinds = dict.fromkeys(re.findall(r" - (?:\w+:)?(\w*Error)\b", rest))
    return f"{service} ({', '.join(kinds) or 'the Sentinels know none that is up'})"


def store_error(error: Exception) -> StoreUnavailable:
    """Return the error that stands for a failure of Redis."""
    text = _of_sentinels(error) if isinstance(error, MasterNotFoundError) else str(error)
    reason = text.split("\n", 1)[0][:200] or type(error).__name__
    lost = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
    # The library strips the code from some errors' texts and expresses it as their class.
    one = isinstance(error, OneMasterAway | SlotUnavailable)
    known = one or isinstance(error, _OUTAGES) or OUTAGE.search(reason) is not None
    return StoreUnavailable(
        f"Redis: {reason}", connection_lost=lost, is_outage=known, of_one_master=one
    )
