"""Locks with an owner token and an expiry, so that two of anything do no harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from pool.errors import StoreUnavailable
from pool.store.connect import store_errors


class Locks:
    """Named locks. Holding one is a courtesy to others; correctness never rests on it alone."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def held(self, name: str, *, seconds: float) -> AsyncIterator[Held | None]:
        """Yields the lock, or None at once if somebody else holds it."""
        lock = Lock(self._redis, name, timeout=seconds, blocking=False, thread_local=False)
        with store_errors():
            mine = await lock.acquire()
        if not mine:
            yield None
            return
        try:
            yield Held(lock, seconds)
        finally:
            await _release(lock)


class Held:
    """A lock that is ours until it expires."""

    def __init__(self, lock: Lock, seconds: float) -> None:
        self._lock = lock
        self._seconds = seconds

    @property
    def token(self) -> str:
        """What the lock's key holds while it is ours."""
        token = self._lock.local.token
        return token.decode() if token else ""

    async def extend(self) -> bool:
        """Holds it for its full time from now; False if it was lost."""
        try:
            with store_errors():
                return bool(await self._lock.extend(self._seconds, replace_ttl=True))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, LockError):
                return False
            raise


async def _release(lock: Lock) -> None:
    try:
        with store_errors():
            await lock.release()
    except StoreUnavailable:
        # Lost or unreachable: it expires by itself.
        return
