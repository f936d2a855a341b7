"""Why a provider is not asked for links: of one meeting, or of a whole workspace."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.store import key_names
from pool.store.connect import store_errors
from pool.store.records import Block


class Blocks:
    """Set by whoever is refused, lifted by whoever gets a link; shared by all processes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, sid: str, block: Block | None) -> None:
        """Sets or lifts a meeting's block. Raises StoreUnavailable, as all of these."""
        await self._put(key_names.block(sid), block)

    async def of(self, sid: str) -> Block | None:
        """The meeting's block, if there is one."""
        return await self._get(key_names.block(sid))

    async def put_workspace(self, workspace: str, block: Block | None) -> None:
        """Sets or lifts a workspace's block."""
        await self._put(key_names.workspace_block(workspace), block)

    async def of_workspace(self, workspace: str) -> Block | None:
        """The workspace's block, if there is one."""
        return await self._get(key_names.workspace_block(workspace))

    async def probe_now(self, sid: str, workspace: str) -> None:
        """Has the blocks of a meeting and of its workspace probed at once.

        For a Redis that may have forgotten that they were lifted.
        """
        for key in (key_names.block(sid), key_names.workspace_block(workspace)):
            if block := await self._get(key):
                await self._put(key, msgspec.structs.replace(block, probe_at_ms=0))

    async def _get(self, key: str) -> Block | None:
        with store_errors():
            value: Any = await self._redis.get(key)
        return as_block(value)

    async def _put(self, key: str, block: Block | None) -> None:
        with store_errors():
            if block is None:
                await self._redis.delete(key)
            else:
                await self._redis.set(key, msgspec.json.encode(block))


def as_block(value: bytes | None) -> Block | None:
    """What a block's key holds."""
    return msgspec.json.decode(value, type=Block) if value else None
