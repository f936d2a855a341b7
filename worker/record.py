"""Task `record`: write answered claims from the streams to the ledger."""

from __future__ import annotations

from pool.compose import Parts
from pool.store import key_names
from worker.each import each


async def record(parts: Parts, sid: str | None) -> int:
    """Record one meeting's stream, or all that are not empty. Return the number of claims.

    Only one worker at a time records all of them: with thousands of busy meetings that takes
    long, and would keep every worker from other tasks.
    """
    if sid:
        return await _each(parts, [sid])
    async with parts.store.locks.held(key_names.task_lock("record-all")) as lock:
        return await _each(parts, await backlogged(parts)) if lock is not None else 0


async def _each(parts: Parts, sids: list[str]) -> int:
    total = 0

    async def one(sid: str) -> None:
        nonlocal total
        async with parts.store.locks.held(key_names.task_lock(f"record:{sid}")) as lock:
            if lock is not None:
                total += await parts.recorder.record(sid)

    await each(parts, "record", sids, one)
    return total


async def backlogged(parts: Parts) -> list[str]:
    """Return the SIDs of the meetings whose streams hold claims that the ledger lacks."""
    sids = await parts.store.published.sids()
    return [level.sid for level in await parts.store.look(sids) if level.backlog]
