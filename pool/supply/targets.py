"""Compute how many links every pool should hold now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pool.model.forecast import NO_PAST, target
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Level


async def targets(
    store: Store, meetings: Mapping[str, Meeting], levels: Sequence[Level]
) -> dict[str, int]:
    """Return the targets of these pools by SID.

    This takes a round trip to Redis only if some of the meetings follow the forecast.
    """
    outlooks = await store.outlooks.get(
        [level.sid for level in levels if meetings[level.sid].target_mode == "auto"]
    )
    return {
        level.sid: target(
            meetings[level.sid],
            level.claims_per_second,
            level.now_ms / 1000,
            outlooks.get(level.sid, NO_PAST),
        )
        for level in levels
    }
