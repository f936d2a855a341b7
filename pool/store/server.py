"""Ask the servers that hold the pools how they are, and what time it is."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, RedisError

from pool.store import key_names
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import masters_of, store_error, store_errors


class Server:
    """The one Redis, or the masters of a Redis Cluster."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @property
    def is_cluster(self) -> bool:
        """Return True if the pools are on a Redis Cluster."""
        return isinstance(self._redis, ClusterRedis)

    async def infos(self) -> list[dict[str, Any]]:
        """Return what INFO says of each server that holds pools.

        A master of a Redis Cluster that is away, or says that the Cluster is down, is left out:
        the others serve on. Raise StoreUnavailable if none is left.
        """
        with store_errors():
            found = await self._ask_all()
            infos = [each for each in found if not isinstance(each, BaseException)]
            for error in found:
                if isinstance(error, BaseException) and not infos:
                    raise error
        return infos

    async def masters_away(self) -> list[str]:
        """Return why masters of a Redis Cluster that should serve do not, one line for each."""
        if not self.is_cluster:
            return []
        with store_errors():
            found = await self._ask_all()
        return [str(store_error(each)) for each in found if isinstance(each, Exception)]

    async def _ask_all(self) -> list[dict[str, Any] | BaseException]:
        masters = await masters_of(self._redis)
        return await asyncio.gather(*map(self._info, masters), return_exceptions=True)

    async def _info(self, master: Any) -> dict[str, Any]:
        if isinstance(self._redis, ClusterRedis):
            state: Any = await master.execute_command("CLUSTER", "INFO")
            if b"cluster_state:ok" not in state:
                raise ClusterDownError("the Redis Cluster is down: not all slots have a master")
        return dict(await master.info())

    async def replicas_to_write(self) -> tuple[int | None, int | None]:
        """Return how many replicas a master must reach to write, and within how many seconds.

        Both are None where this Redis does not say.
        """
        try:
            found: Any = await self._redis.config_get("min-replicas-*")
        except RedisError:
            return None, None
        names = "min-replicas-to-write", "min-replicas-max-lag"
        least, lag = (int(found[name]) if name in found else None for name in names)
        return least, lag

    async def cluster_habits(self) -> tuple[float | None, bool | None]:
        """Return how a Redis Cluster is set up: the worst that any master's CONFIG says.

        Return the seconds after which a master that is cut off stops writing, and True if all
        masters stop while one is away. Both are None where a master does not say.
        """
        try:
            found: list[Any] = [
                await master.config_get("cluster-*") for master in await masters_of(self._redis)
            ]
            timeouts = [int(each["cluster-node-timeout"]) / 1000 for each in found]
            return max(timeouts), any(
                each["cluster-require-full-coverage"] == "yes" for each in found
            )
        except (RedisError, KeyError):
            return None, None

    async def now_ms(self) -> int:
        """Return milliseconds since 1970 by Redis's clock, which all processes share."""
        with store_errors():
            seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def heartbeat(self, now_ms: int) -> None:
        """Note that a worker ran a sweep."""
        with store_errors():
            await self._redis.set(key_names.HEARTBEAT, now_ms)

    async def last_heartbeat_ms(self) -> int | None:
        """Return when a worker last ran a sweep, or None if none did."""
        with store_errors():
            value = await self._redis.get(key_names.HEARTBEAT)
        return int(value) if value else None
