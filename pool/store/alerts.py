"""Keep the troubles that stand, and the notices of them that are still to be sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.troubles import Notice, Reading, Standing, step
from pool.store import key_names, scripts
from pool.store.connect import store_errors

NOTICES_LIMIT = 200  # kept while the receiver is away; the oldest are dropped
FELL_SECONDS = 60  # how long a fallen fence is remembered, for late sweeps


@dataclass(frozen=True, slots=True)
class Outbox:
    """The troubles that stand, and whether there is a notice to send now."""

    standing: dict[str, bytes]
    due: bool
    fence_fell: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """The notice that is to be sent next."""

    notice: Notice
    text: bytes
    attempts: int


class Alerts:
    """Troubles and notices, shared by all workers and API processes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def look(self, now_ms: int) -> Outbox:
        """Return the troubles that last, and the notice to send now, if any."""
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(key_names.ALERTS)
            pipe.llen(key_names.NOTICES)
            pipe.hget(key_names.NOTICES_RETRY, "not_before")
            pipe.exists(key_names.FENCE_FELL)
            standing, waiting, not_before, fell = await pipe.execute()
        return Outbox(
            {name.decode(): text for name, text in standing.items()},
            bool(waiting) and now_ms >= int(not_before or 0),
            bool(fell),
        )

    async def observe(self, outbox: Outbox, readings: Iterable[Reading], now_ms: int) -> int:
        """Take note of readings. Return how many notices that made.

        The first observer to see a change writes it down and adds its notice in the same step,
        so that several observers, or one that is started again, send one notice.
        """
        made = 0
        for reading in readings:
            text = outbox.standing.get(reading.name, b"")
            before = msgspec.json.decode(text, type=Standing) if text else None
            after, notice = step(before, reading, now_ms)
            if after == before and notice is None:
                continue
            turned = await scripts.run(
                self._redis,
                "turn",
                [key_names.ALERTS, key_names.NOTICES],
                [
                    reading.name,
                    text,
                    msgspec.json.encode(after) if after else b"",
                    msgspec.json.encode(notice) if notice else b"",
                    NOTICES_LIMIT,
                ],
            )
            made += bool(turned and notice)
        return made

    async def fence_fell(self) -> None:
        """Note that a pool was recovered at the cost of its fresh links."""
        with store_errors():
            await self._redis.set(key_names.FENCE_FELL, 1, ex=FELL_SECONDS)

    async def next(self) -> Pending | None:
        """Return the oldest notice, however often it was tried, or None if there is none."""
        with store_errors():
            pipe = self._redis.pipeline(transaction=False)
            pipe.lindex(key_names.NOTICES, 0)
            pipe.hget(key_names.NOTICES_RETRY, "attempts")
            text, attempts = await pipe.execute()
        if text is None:
            return None
        return Pending(msgspec.json.decode(text, type=Notice), text, int(attempts or 0))

    async def done(self, pending: Pending) -> None:
        """Remove a notice that was sent or given up."""
        with store_errors():
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.lrem(key_names.NOTICES, 1, pending.text)
            pipe.delete(key_names.NOTICES_RETRY)
            await pipe.execute()

    async def postpone(self, pending: Pending, not_before_ms: int) -> None:
        """Keep a notice that could not be sent, to be tried again from `not_before_ms` on."""
        retry: Any = {"attempts": pending.attempts + 1, "not_before": not_before_ms}
        with store_errors():
            await self._redis.hset(key_names.NOTICES_RETRY, mapping=retry)
