"""Provide a Redis Cluster with the interface of a single Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pool.config.redis_address import parse_redis
from pool.store import Store, key_names
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import masters_of, open_redis
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.disturbed_cluster import DisturbedCluster

SID = "intro"  # the meeting of the contracts
_EVERYWHERE = frozenset(("FLUSHALL", "SCRIPT FLUSH", "CONFIG SET", "CONFIG RESETSTAT"))


class Bare(ClusterRedis):
    """A client that bypasses the store, and sends a command without a key to all masters."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command on the master of its key, or on all of them."""
        if args[0] not in _EVERYWHERE:
            return await super().execute_command(*args, **options)
        masters: list[Any] = await masters_of(self)
        replies = [await each.execute_command(*args, **options) for each in masters]
        return replies[0]

    async def scan_iter(self, *args: Any, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        """Yield the keys of all masters."""
        for master in await masters_of(self):
            async for key in master.scan_iter(*args, **options):
                yield key


@asynccontextmanager
async def any_cluster(cluster: DisturbedCluster) -> AsyncIterator[AnyRedis]:
    """Yield an empty Cluster and a store on it.

    A restart moves every slot with all its keys to another master, and so changes both parts
    of the server's identity; a fail-back changes one of them.
    """
    cluster.flush()

    def open_store() -> Store:
        return Store.open(cluster.url, SECRET_KEY)

    async def restart() -> None:
        await asyncio.to_thread(cluster.move_all)

    async def fail_back() -> None:
        cluster.master_of(key_names.epoch(SID)).client.execute_command("DEBUG", "CHANGE-REPL-ID")

    client = open_redis(cluster.url, timeout_seconds=5.0, max_connections=8)
    assert isinstance(client, ClusterRedis)
    assert parse_redis(cluster.url).is_cluster
    bare = Bare(client.topology)
    redis = AnyRedis(open_store(), bare, restart, fail_back, open_store)
    yield redis
    await redis.close()
