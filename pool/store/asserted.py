"""Mark in Redis what an API process has asserted again, to notice when that is lost, too."""

from __future__ import annotations

import secrets
from typing import Any

from redis.asyncio import Redis

from pool.store import key_names
from pool.store.connect import store_errors

KEPT_MS = 60_000  # longer than claims are kept to be asserted


class Mark:
    """One go of assertions: what it began with in full, and how often claims were added since."""

    __slots__ = ("added", "nonce")

    def __init__(self) -> None:
        self.nonce = secrets.token_hex(8)
        self.added = 0

    @property
    def done(self) -> str:
        """Return the value that stands once all of it is asserted."""
        return f"{self.nonce}:{self.added}"


class AssertedMarks:
    """Marks around what a process asserts of a pool. Every method raises StoreUnavailable.

    A Redis that is emptied in between loses what was written before, and one that comes back from a
    file or as a replica may lack what was written last. So one mark is written before the claims
    and one after them: where both stand, so does all that was written between them.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._owner = secrets.token_hex(8)  # this process

    async def begin(self, pool: str, mark: Mark) -> None:
        """Write the mark that stands before the claims."""
        key = key_names.asserted(pool)
        with store_errors():
            await self._redis.hset(key, f"{self._owner}:begun", mark.nonce)
            await self._redis.pexpire(key, KEPT_MS)

    async def done(self, pool: str, mark: Mark) -> None:
        """Write the mark that stands after them."""
        with store_errors():
            await self._redis.hset(key_names.asserted(pool), f"{self._owner}:done", mark.done)

    async def stand(self, pool: str, mark: Mark) -> bool:
        """Return True if this Redis has all that was asserted under the mark."""
        fields = [f"{self._owner}:begun", f"{self._owner}:done"]
        with store_errors():
            found: Any = await self._redis.hmget(key_names.asserted(pool), fields)
        return bool(found == [mark.nonce.encode(), mark.done.encode()])
