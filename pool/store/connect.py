"""Connections to Redis, and what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pool.errors import SettingsError, StoreUnavailable


def open_redis(url: str, *, timeout_seconds: float, max_connections: int) -> Redis:
    """A client that never repeats a command by itself: who calls knows what is safe to repeat.

    Raises SettingsError if the address is malformed.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=min(1.0, timeout_seconds),
            socket_keepalive=True,
            # With RESP3 redis-py 8 listens for maintenance notifications, and then no longer
            # looks whether a pooled connection has been closed by the server, or holds an
            # old reply, before it uses it.
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            client_name="linkpool",
        )
    except ValueError as error:
        raise SettingsError("LINKPOOL_REDIS_URL", f"is not a Redis address: {error}") from None
    return Redis(connection_pool=pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Raises StoreUnavailable for every failure of Redis, whatever the client calls it."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        reason = str(error).split("\n", 1)[0][:200] or type(error).__name__
        lost = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
        raise StoreUnavailable(f"Redis: {reason}", connection_lost=lost) from error
