"""Locks with an owner token and an expiry, so that two of anything do no harm."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from pool.errors import StoreUnavailable
from pool.store import scripts
from pool.store.connect import store_errors

# How long others wait for an owner that died. A living one renews long before.
LOCK_SECONDS = 5.0
_RENEWALS = 4  # in that time
_END_SECONDS = 1.0


class Locks:
    """Named locks. Holding one is a courtesy to others; correctness never rests on it alone."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def held(self, name: str, *, seconds: float = LOCK_SECONDS) -> AsyncIterator[Held | None]:
        """Yields the lock, or None at once if somebody else holds it.

        It is renewed for as long as the block runs. A lock that was taken on another Redis
        process, or before a failover, counts for nothing.
        """
        lock = Lock(self._redis, name, timeout=seconds, blocking=False, thread_local=False)
        with store_errors():
            value = await scripts.run(
                self._redis, "lock", [name], [secrets.token_hex(8), int(seconds * 1000)]
            )
        if not value:
            yield None
            return
        lock.local.token = value
        held = Held(lock, seconds)
        renewing = asyncio.create_task(_renew(held, seconds / _RENEWALS))
        try:
            yield held
        finally:
            renewing.cancel()
            # Not for longer: a client library that loses the cancellation must not hold us up.
            await asyncio.wait([renewing], timeout=_END_SECONDS)
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


async def _renew(held: Held, every_seconds: float) -> None:
    """Until the lock is lost; whoever holds it finds that out at their next step."""
    task = asyncio.current_task()
    while task is not None and not task.cancelling():
        await asyncio.sleep(every_seconds)
        with suppress(StoreUnavailable):
            if not await held.extend():
                return


async def _release(lock: Lock) -> None:
    try:
        with store_errors():
            await lock.release()
    except StoreUnavailable:
        # Lost or unreachable: it expires by itself.
        return
