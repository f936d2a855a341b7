"""Give tests a Redis, fake or real, and the files a real one leaves."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from pool.store import Store
from tests.redis_process import RedisServer

SECRET_KEY = b"secret key of the tests, and of nothing else"


@dataclass
class AnyRedis:
    """A Redis under test, fake or real: the store, and a bare client to look behind it.

    `restart` ends the server in order and starts it with what it wrote down; `fail_back`
    makes the same process a master anew, as after a failover and a quick return.
    """

    store: Store
    bare: Redis
    restart: Callable[[], Awaitable[None]]
    fail_back: Callable[[], Awaitable[None]]
    open_store: Callable[[], Store]
    opened: list[Store] = field(default_factory=list)

    async def everything(self) -> dict[bytes, object]:
        """Return all keys and what they hold.

        A nudge stays from here on: on a slow machine its second could end between two looks.
        """
        held: dict[bytes, object] = {}
        async for key in self.bare.scan_iter():
            if key.endswith(b":nudged"):
                await self.bare.persist(key)
            match await self.bare.type(key):
                case b"string":
                    held[key] = await self.bare.get(key)
                case b"hash":
                    held[key] = await self.bare.hgetall(key)
                case b"zset":
                    held[key] = await self.bare.zrange(key, 0, -1, withscores=True)
                case b"set":
                    held[key] = await self.bare.smembers(key)
                case b"stream":
                    held[key] = await self.bare.xrange(key)
        return held

    def another_store(self) -> Store:
        """Return a store of another process, on the same Redis."""
        store = self.open_store()
        self.opened.append(store)
        return store

    async def close(self) -> None:
        """Close every client."""
        for store in (self.store, *self.opened):
            await store.close()
        await self.bare.aclose()


def copy_of_its_file(server: RedisServer, to: Path) -> None:
    """Return what Redis has written of its append-only file by now; it may be running."""
    for part in server.directory.glob("appendonly*"):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, to / part.name)


def start_from_copy(server: RedisServer, copy: Path) -> None:
    """Kill Redis, and start it from an older copy of its append-only file."""
    server.kill()
    for part in server.directory.glob("appendonly*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    shutil.copytree(copy, server.directory, dirs_exist_ok=True)
    server.start()
