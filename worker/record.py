"""Task `record`: answered claims from the streams to the ledger."""

from __future__ import annotations

from pool.compose import Parts
from pool.store import keys


async def record(parts: Parts, sid: str | None) -> int:
    """Records one meeting's stream, or all that hold anything; how many claims."""
    sids = [sid] if sid else await backlogged(parts)
    total = 0
    for each in sids:
        async with parts.store.locks.held(keys.task_lock(f"record:{each}")) as lock:
            if lock is not None:
                total += await parts.recorder.record(each)
    return total


async def backlogged(parts: Parts) -> list[str]:
    """The meetings whose streams hold claims that the ledger does not have."""
    sids = await parts.store.published.sids()
    return [level.sid for level in await parts.store.look(sids) if level.backlog]
