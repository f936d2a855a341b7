"""How old the links of a pool are."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from pool.store import keys
from pool.store.connect import store_errors


class Ages:
    """The ages of fresh links, counted by Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, sid: str, edges_seconds: Sequence[int]) -> list[int]:
        """How many fresh links are younger than each edge but not than the one before it.

        `edges_seconds` ascend; one more count follows, of those older than the last. Two
        round trips, the second as fast for a million links as for ten. Raises
        StoreUnavailable.
        """
        with store_errors():
            now_seconds, microseconds = await self._redis.time()
            now_ms = now_seconds * 1000 + microseconds // 1000
            pipe = self._redis.pipeline(transaction=False)
            until = "+inf"
            for edge in edges_seconds:
                since = now_ms - edge * 1000
                pipe.zcount(keys.fresh(sid), f"({since}", until)
                until = str(since)
            pipe.zcount(keys.fresh(sid), "-inf", until)
            return [int(count) for count in await pipe.execute()]
