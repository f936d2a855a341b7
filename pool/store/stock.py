"""Look at the fresh links of a pool, and take links out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from pool.store import key_names, scripts
from pool.store.connect import store_errors


class Stock:
    """The fresh links of each pool. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take_out(self, sid: str, *, up_to_ms: int | None, limit: int = 1000) -> list[str]:
        """Take fresh links made by `up_to_ms` (None: at any time) out of the pool.

        The oldest come first. Return their slugs.
        """
        bound = "+inf" if up_to_ms is None else up_to_ms
        slugs = await scripts.run(self._redis, "take_out", [key_names.fresh(sid)], [bound, limit])
        return [slug.decode() for slug in slugs]

    async def withdraw(self, sid: str, slugs: Sequence[str]) -> int:
        """Take these links out of the pool. Return how many of them were in it."""
        if not slugs:
            return 0
        with store_errors():
            return int(await self._redis.zrem(key_names.fresh(sid), *slugs))

    async def oldest(self, sid: str, limit: int) -> list[str]:
        """Return the slugs that will be handed out next."""
        with store_errors():
            slugs: Any = await self._redis.zrange(key_names.fresh(sid), 0, limit - 1)
        return [slug.decode() for slug in slugs]

    async def pooled(self, sid: str, slugs: Sequence[str]) -> list[bool]:
        """Return, for each of these slugs, True if it is in the pool."""
        if not slugs:
            return []
        with store_errors():
            scores = await self._redis.zmscore(key_names.fresh(sid), list(slugs))
        return [score is not None for score in scores]

    async def ages(self, sid: str, edges_seconds: Sequence[int]) -> list[int]:
        """Return how many fresh links are younger than each edge but not than the one before it.

        `edges_seconds` ascend. One more count follows, of links older than the last edge. It takes
        two round trips; the second takes no longer for a million links than for ten.
        """
        with store_errors():
            now_seconds, microseconds = await self._redis.time()
            now_ms = now_seconds * 1000 + microseconds // 1000
            pipe = self._redis.pipeline(transaction=False)
            until = "+inf"
            for edge in edges_seconds:
                since = now_ms - edge * 1000
                pipe.zcount(key_names.fresh(sid), f"({since}", until)
                until = str(since)
            pipe.zcount(key_names.fresh(sid), "-inf", until)
            return [int(count) for count in await pipe.execute()]
