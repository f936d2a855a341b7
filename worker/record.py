"""Task `record`: write answered claims from the streams to the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pool.compose import Parts
from pool.store import key_names
from worker.each import each


async def record(parts: Parts, sid: str | None) -> int:
    """Record one meeting's stream, or all that are not empty. Return the number of claims.

    Only one worker at a time records all of them: with thousands of busy meetings that takes
    long, and would keep every worker from other tasks.
    """
    if sid:
        return await _each(parts, [sid], parts.recorder.record)
    async with parts.store.locks.held(key_names.task_lock("record-all")) as lock:
        if lock is None:
            return 0
        return await _each(parts, await backlogged(parts), parts.recorder.record_pool)


async def _each(parts: Parts, names: list[str], work: Callable[[str], Awaitable[int]]) -> int:
    """Do the work for meetings or pools of these names. Return the number of claims."""
    total = 0

    async def one(name: str) -> None:
        nonlocal total
        async with parts.store.locks.held(key_names.task_lock(f"record:{name}")) as lock:
            if lock is not None:
                total += await work(name)

    await each(parts, "record", names, one)
    return total


async def backlogged(parts: Parts) -> list[str]:
    """Return the names of the pools whose streams hold claims that the ledger lacks."""
    pools = await parts.store.published.pools()
    return [level.sid for level in await parts.store.look(pools) if level.backlog]
