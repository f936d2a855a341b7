"""Task `settle`: apply booking events from the inbox to the states of links."""

from __future__ import annotations

from pool.compose import Parts
from pool.store import key_names

EVENTS_PER_LOOK = 100


async def settle(parts: Parts) -> int:
    """Settle every event that is due. Return the number that were looked at."""
    total = 0
    async with parts.store.locks.held(key_names.task_lock("settle")) as lock:
        while lock is not None:
            done = await parts.bookings.settle_due(EVENTS_PER_LOOK)
            total += done
            if done < EVENTS_PER_LOOK or not await lock.extend():
                break
    return total
