"""Keep the blocks: why a provider is not asked for links of a meeting, or of a whole workspace."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.store import key_names
from pool.store.connect import store_errors
from pool.store.records import Block


class Blocks:
    """The blocks that a refusal sets and a link made lifts, shared by all processes.

    Every method raises StoreUnavailable.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, sid: str, block: Block | None) -> None:
        """Set a meeting's block, or lift it if `block` is None."""
        await self._put(key_names.block(sid), block)

    async def of(self, sid: str) -> Block | None:
        """Return the meeting's block, or None if there is none."""
        return await self._get(key_names.block(sid))

    async def put_workspace(self, workspace: str, block: Block | None) -> None:
        """Set a workspace's block, or lift it if `block` is None."""
        await self._put(key_names.workspace_block(workspace), block)

    async def of_workspace(self, workspace: str) -> Block | None:
        """Return the workspace's block, or None if there is none."""
        return await self._get(key_names.workspace_block(workspace))

    async def probe_now(self, sid: str, workspace: str) -> None:
        """Make the probes of a meeting's block and of its workspace's due at once.

        This is for a Redis that may have forgotten that they were lifted.
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
    """Return the block that a key's value holds, or None if there is no value."""
    return msgspec.json.decode(value, type=Block) if value else None
