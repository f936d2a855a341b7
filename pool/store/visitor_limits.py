"""Count the new visitors of a meeting's public keys, for all API processes together."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from pool.store import key_names, scripts
from pool.store.bindings import CustomerNames


class VisitorLimits:
    """Limits of new visitors in a minute, per meeting and per address for each meeting.

    0 means no limit. Methods take one round trip, and none where nothing is limited.
    """

    def __init__(self, redis: Redis, names: CustomerNames) -> None:
        self._redis = redis
        self._names = names

    async def admit(self, sid: str, address: str, per_meeting: int, per_address: int) -> float:
        """Count a new visitor. Return 0, or the seconds until one more is allowed, uncounted."""
        return await self._run(sid, address, per_meeting, per_address, 1) / 1000

    async def give_back(self, sid: str, address: str, per_meeting: int, per_address: int) -> None:
        """Take back the visitor that `admit` counted, who got no link."""
        await self._run(sid, address, per_meeting, per_address, -1)

    async def _run(
        self, sid: str, address: str, per_meeting: int, per_address: int, count: int
    ) -> int:
        if not per_meeting and not per_address:
            return 0
        keys = [
            key_names.visitors(sid),
            # As customers' ids, addresses are in Redis as keyed hashes only.
            key_names.visitors_from(sid, self._names.name(sid, f"address:{address}")),
        ]
        wait_ms: Any = await scripts.run(
            self._redis, "admit_visitor", keys, [per_meeting, per_address, count]
        )
        return int(wait_ms)
