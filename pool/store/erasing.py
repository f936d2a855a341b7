"""Erase a customer from Redis: drop their binding, and have the append-only file rewritten."""

from __future__ import annotations

from redis.asyncio import Redis

from pool.errors import StoreUnavailable
from pool.store import key_names, scripts
from pool.store.connect import masters_of, store_errors


class Erasing:
    """The steps of erasing a customer from Redis.

    Each may be repeated, and raises StoreUnavailable when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def drop(self, sid: str, slug: str, name: str) -> None:
        """Drop the binding of the customer with this name, if it is to this link."""
        await scripts.run(
            self._redis,
            "mark",
            [key_names.fresh(sid), key_names.binding(sid, name)],
            [slug, "gone", ""],
        )

    async def rewrite_file(self) -> bool:
        """Ask Redis to rewrite its append-only file, without what was trimmed or dropped.

        Return False if Redis keeps no such file or does not allow the command. Raise
        StoreUnavailable while a rewrite runs already, since that one may have begun too early.
        """
        busy, kept = False, False
        for master in await self._masters():
            try:
                with store_errors():
                    state = await master.info("persistence")
                    if not int(state.get("aof_enabled", 0)):
                        continue
                    if state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled"):
                        busy = True
                    else:
                        await master.bgrewriteaof()
            except StoreUnavailable as error:
                if error.connection_lost:
                    raise
                continue
            kept = True
        if busy:
            raise StoreUnavailable("Redis is rewriting its append-only file already")
        return kept

    async def _masters(self) -> list[Redis]:
        with store_errors():
            return await masters_of(self._redis)
