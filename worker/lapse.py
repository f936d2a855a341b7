"""Task `lapse`: mark the claims whose time is over."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from pool.compose import Parts
from pool.model.times import from_ms

_LINKS_PER_STEP = 1_000
# After each batch this task pauses for this many times as long as the batch took: nobody waits
# for a claim to be marked, while the recorder and new claims need the ledger and the processor.
_REST = 2.0
_RUN_SECONDS = 30.0  # after that, the next run goes on: no task may run for ever


async def lapse(parts: Parts) -> None:
    """Mark the claims whose time is over, the earliest first, and keep the counts short.

    Several runs may be under way at once: if one is too slow for the claims that come due, the next
    helps.
    """
    await parts.ledger.counts.fold()
    now = await earlier_clock(parts)
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        began = time.monotonic()
        lapsed = await parts.ledger.links.lapse(now, _LINKS_PER_STEP)
        for sid, count in lapsed.items():
            parts.outcomes.count(sid, "lapsed", count)
        if lapsed.total() < _LINKS_PER_STEP:
            return
        await asyncio.sleep(_REST * (time.monotonic() - began))


async def earlier_clock(parts: Parts) -> datetime:
    """Return the earlier of this clock's time and Redis's.

    A clock that is ahead must not end claims early.
    """
    return min(datetime.now(UTC), from_ms(await parts.store.now_ms()))
