"""Keep entries of claims streams that could not be read for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.pools import sid_of
from pool.store import key_names
from pool.store.connect import store_errors


class SetAsides:
    """The entries that were set aside, of all meetings. They stay until a person deletes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(
        self, sid: str, entry_id: str, fields: Mapping[bytes, bytes], reason: str
    ) -> None:
        """Keep an entry, then take it out of its stream. Repeating it is harmless."""
        await self.keep(sid, entry_id, fields, reason)
        with store_errors():
            await self._redis.xdel(key_names.claims(sid), entry_id)

    async def keep(self, sid: str, name: str, fields: Mapping[bytes, bytes], reason: str) -> None:
        """Keep an entry that the caller takes out of the stream."""
        kept = msgspec.msgpack.encode((reason, list(fields.items())))
        with store_errors():
            await self._redis.hset(key_names.SET_ASIDE, f"{sid} {name}", kept)

    async def blank(self, sid: str, text: str) -> None:
        """Overwrite a text wherever a meeting's entries hold it, and leave the rest to be read."""
        secret = text.encode()
        with store_errors():
            # Of all pools of the meeting: their names are the SID, or begin with it and a colon.
            of_it = f"{sid}[ :]*"
            async for name, kept in self._redis.hscan_iter(key_names.SET_ASIDE, match=of_it):
                if secret in kept:
                    # Of the same length, so that the data around it keeps its form.
                    blanked = kept.replace(secret, b"x" * len(secret))
                    await self._redis.hset(key_names.SET_ASIDE, name, blanked)

    async def counts(self) -> dict[str, int]:
        """Return how many entries were set aside, for each meeting that has any."""
        with store_errors():
            names: Any = await self._redis.hkeys(key_names.SET_ASIDE)
        counts: dict[str, int] = {}
        for name in names:
            sid = sid_of(name.decode().split(" ")[0])
            counts[sid] = counts.get(sid, 0) + 1
        return counts
