"""Measure what one fresh link, one live binding and one unrecorded claim take in Redis.

Differences of used_memory over many of each, made by the product's own store; customer ids of
36 characters, as UUIDs have.
"""

from __future__ import annotations

import uuid

from bench import preload
from bench.measures.base import Bench
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting
from pool.compose import Parts
from pool.store import key_names
from pool.store.records import BATCH_LIMIT, payload

SID = "bench-memory"


def measure(bench: Bench) -> list[Row]:
    """Measure the bytes of each."""
    fresh, binding, claim = [], [], []
    count = bench.options.sizes.memory_each
    for _ in range(bench.options.runs):
        with Stage() as stage:
            stage.open_meetings([quiet_meeting(SID)])
            stage.work(lambda parts: _claim(parts, 1))  # loads the script
            empty = _used(stage)
            preload.fresh_links(stage.redis, SID, count, prefix="aaaa")
            full = _used(stage)
            stage.work(lambda parts: _claim(parts, count))
            claimed = _used(stage)
            stage.redis.xtrim(key_names.claims(SID), maxlen=0, approximate=False)
            recorded = _used(stage)
        fresh.append((full - empty) / count)
        binding.append((recorded - empty) / count)
        claim.append((claimed - recorded) / count)
        bench.say(f"fresh {fresh[-1]:.0f} B, binding {binding[-1]:.0f} B, claim {claim[-1]:.0f} B")
    over = f"over {count:,}"
    return [
        Row("memory.fresh", f"a fresh link, {over}", "B", tuple(fresh), Goal(at_most=110)),
        Row("memory.binding", f"a live binding, {over}", "B", tuple(binding), Goal(at_most=170)),
        Row("memory.claim", f"an unrecorded claim, {over}", "B", tuple(claim), Goal(at_most=60)),
    ]


async def _claim(parts: Parts, count: int) -> None:
    for start in range(0, count, BATCH_LIMIT):
        ids = [str(uuid.uuid4()) for _ in range(min(BATCH_LIMIT, count - start))]
        await parts.store.claim(
            SID, [(parts.store.names.name(SID, each), payload(each)) for each in ids]
        )


def _used(stage: Stage) -> int:
    return int(stage.redis.info("memory")["used_memory"])
