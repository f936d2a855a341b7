"""Task `lapse`: claims whose time is over."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from pool.compose import Parts
from pool.model.times import from_ms

_LINKS_PER_STEP = 1_000
# After a batch the ledger and the processor are left to others for so many times as long as
# it took: nobody waits for a claim to be marked, but the recorder and the claims of now do.
_REST = 2.0
_RUN_SECONDS = 30.0  # then the next run goes on: no task may run for ever


async def lapse(parts: Parts) -> None:
    """Marks the claims whose time is over, the earliest first. May run again at any time, also
    beside itself: if one run is too slow for what comes due, the next one helps."""
    now = await earlier_clock(parts)
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        began = time.monotonic()
        if await parts.ledger.links.lapse(now, _LINKS_PER_STEP) < _LINKS_PER_STEP:
            return
        await asyncio.sleep(_REST * (time.monotonic() - began))


async def earlier_clock(parts: Parts) -> datetime:
    """Now, by this clock or by Redis's: one that has run ahead must not end claims early."""
    return min(datetime.now(UTC), from_ms(await parts.store.now_ms()))
