"""Keep the pulse of each process, and read all pulses in one round trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from redis.asyncio import Redis

from pool.model.outcomes import EVERYWHERE, NAMES
from pool.model.vitals import Heard, HeardPulse, Pulse
from pool.store import key_names, scripts
from pool.store.connect import store_errors

FORGET_SECONDS = 600  # after which a silent process is forgotten
_SINCE = b"since "


class Pulses:
    """The pulses of all processes. Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def beat(self, process: str, pulse: Pulse) -> None:
        """Note that a process is alive, with its pulse."""
        await scripts.run(
            self._redis,
            "pulse",
            [key_names.PULSES],
            [process, msgspec.json.encode(pulse), FORGET_SECONDS * 1000, pulse.role],
        )

    async def end(self, process: str) -> None:
        """Forget a process that ends in order."""
        with store_errors():
            await self._redis.hdel(key_names.PULSES, process)

    async def forget_ended(self, beginning: str, lives: Callable[[str], bool]) -> None:
        """Forget processes whose name begins so and that are known to have ended, as by a kill."""
        with store_errors():
            held: Any = await self._redis.hkeys(key_names.PULSES)
            names = [each.decode() for each in held]
            ended = [each for each in names if each.startswith(beginning) and not lives(each)]
            if ended:
                await self._redis.hdel(key_names.PULSES, *ended)

    async def hear(self) -> Heard:
        """Return the last pulse of each process, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(key_names.PULSES)
        pipe.get(key_names.HEARTBEAT)
        pipe.hmget(key_names.TALLIES, [key_names.tally(EVERYWHERE, name) for name in NAMES])
        with store_errors():
            (seconds, microseconds), pulses, swept, totals = await pipe.execute()
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        return Heard(
            now_ms=now_ms,
            pulses=tuple(
                _heard(process, text, now_ms)
                for process, text in sorted(pulses.items())
                if not process.startswith(_SINCE)
            ),
            swept_ms=int(swept) if swept else None,
            totals={name: int(total or 0) for name, total in zip(NAMES, totals, strict=True)},
            always=_SINCE + b"worker" in pulses,
        )


def _heard(process: Any, text: bytes, now_ms: int) -> HeardPulse:
    at_ms, _, said = text.partition(b" ")
    return HeardPulse(
        process.decode(),
        msgspec.json.decode(said, type=Pulse),
        max(0.0, (now_ms - int(at_ms)) / 1000),
    )
