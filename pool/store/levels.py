"""Look at the state of many pools at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from pool.errors import StoreUnavailable
from pool.store import key_names, scripts
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import store_error, store_errors
from pool.store.records import Level
from pool.store.replies import as_level, unreadable

_LOOK_AT = 25  # pools per script call


class Levels:
    """The levels of all pools."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # On a Cluster a script may touch one slot, which is one meeting, or next to none.
        self._per_call = 1 if isinstance(redis, ClusterRedis) else _LOOK_AT

    async def look(self, sids: Sequence[str]) -> list[Level]:
        """Return the levels of these pools, in their order, in one pipeline.

        On a Redis Cluster a pool whose master is away is `unreadable`, if any other answers.
        """
        if not sids:
            return []
        with store_errors():
            levels = await self._look(sids)
            if levels is None:  # a server does not know the script yet
                await scripts.load(self._redis, "look")
                levels = await self._look(sids)
        if levels is None:
            raise StoreUnavailable("Redis does not keep the scripts it is given")
        return levels

    async def _look(self, sids: Sequence[str]) -> list[Level] | None:
        pipe = self._redis.pipeline(transaction=False)
        sha = scripts.sha1("look")
        # Some pools per call: a call for each would find out anew which server it is on, and one
        # call for all would make claims wait.
        parts = [sids[at : at + self._per_call] for at in range(0, len(sids), self._per_call)]
        for some in parts:
            named = [name for sid in some for name in _looked_at(sid)]
            pipe.evalsha(sha, len(named), *named)
        replies = await pipe.execute(raise_on_error=False)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if any(scripts.is_unknown(error) for error in errors):
            return None
        if errors and (self._per_call > 1 or len(errors) == len(replies)):
            raise errors[0]
        now_ms = max(int(reply[0]) for reply in replies if not isinstance(reply, Exception))
        return [
            level
            for some, reply in zip(parts, replies, strict=True)
            for level in _levels(some, reply, now_ms)
        ]


def _levels(sids: Sequence[str], reply: Any, now_ms: int) -> list[Level]:
    """Return the levels in the reply to one call. `now_ms` is for those that have none."""
    if isinstance(reply, Exception):
        return [unreadable(sid, now_ms, str(store_error(reply))) for sid in sids]
    its_ms, identity, *parts = reply
    return [
        as_level(sid, int(its_ms), identity.decode(), part)
        for sid, part in zip(sids, parts, strict=True)
    ]


def _looked_at(sid: str) -> tuple[str, ...]:
    return (
        key_names.epoch(sid),
        key_names.fresh(sid),
        key_names.claims(sid),
        key_names.demand(sid),
        key_names.block(sid),
        key_names.meeting(sid),
    )
