"""Hold locks that carry an owner token and expire, so that a second process does no harm."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis

from pool.errors import StoreUnavailable
from pool.store import scripts

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
        """Yield the lock, or None at once if it is held already.

        It is renewed while the block runs. A lock that was taken on another Redis process, or
        before a failover, is not valid.
        """
        value = await scripts.run(
            self._redis, "lock", [name], [secrets.token_hex(8), int(seconds * 1000)]
        )
        if not value:
            yield None
            return
        held = Held(self._redis, name, value.decode(), seconds)
        renewing = asyncio.create_task(_renew(held, seconds / _RENEWALS))
        try:
            yield held
        finally:
            renewing.cancel()
            # Bounded, because a client library that loses the cancellation must not hold us up.
            await asyncio.wait([renewing], timeout=_END_SECONDS)
            # A lock that is lost, or cannot be reached, expires by itself.
            with suppress(StoreUnavailable):
                await held.release()


class Held:
    """A lock that is ours until it expires."""

    def __init__(self, redis: Redis, name: str, token: str, seconds: float) -> None:
        self._redis = redis
        self._name = name
        self.token = token  # what the lock's key holds while it is ours
        self._milliseconds = int(seconds * 1000)

    async def extend(self) -> bool:
        """Make the lock expire its full time from now. Return False if it was lost."""
        return await self._if_ours("extend_lock", self._milliseconds)

    async def release(self) -> bool:
        """Release the lock. Return False if it was lost."""
        return await self._if_ours("unlock")

    async def _if_ours(self, script: str, *more: int) -> bool:
        return bool(await scripts.run(self._redis, script, [self._name], [self.token, *more]))


async def _renew(held: Held, every_seconds: float) -> None:
    """Renew the lock until it is lost, which its owner finds out at the next step."""
    task = asyncio.current_task()
    while task is not None and not task.cancelling():
        await asyncio.sleep(every_seconds)
        with suppress(StoreUnavailable):
            if not await held.extend():
                return
