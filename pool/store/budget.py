"""Share one request budget per workspace among all workers and the direct path."""

from __future__ import annotations

from typing import Literal

from redis.asyncio import Redis

from pool.store import key_names, scripts
from pool.store.connect import store_errors


class Budget:
    """The pace of requests to a provider, and the rate it allows; lua/budget.lua says how."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(
        self, workspace: str, *, first_rate: float, within_seconds: float
    ) -> float | None:
        """Reserve one request.

        Return the seconds until it may start, or None if that is later than `within_seconds`.
        """
        wait_ms = (await self._run(workspace, "take", first_rate, int(within_seconds * 1000)))[0]
        return None if wait_ms < 0 else wait_ms / 1000

    async def report(
        self,
        workspace: str,
        what: Literal["ok", "throttled", "failed"],
        *,
        first_rate: float,
        retry_after_seconds: float | None = None,
    ) -> float:
        """Report how a request went. Return the rate allowed from now on, per second."""
        pause = "" if retry_after_seconds is None else int(min(retry_after_seconds, 1e6) * 1000)
        return (await self._run(workspace, what, first_rate, pause))[1]

    async def rate(self, workspace: str) -> float | None:
        """Return the rate allowed now, per second, or None before the first request."""
        with store_errors():
            value = await self._redis.hget(key_names.budget(workspace), "rate")
        return float(value) if value else None

    async def _run(
        self, workspace: str, what: str, first_rate: float, argument: int | str
    ) -> tuple[int, float]:
        wait, rate = await scripts.run(
            self._redis, "budget", [key_names.budget(workspace)], [what, first_rate, argument]
        )
        return int(wait), float(rate)
