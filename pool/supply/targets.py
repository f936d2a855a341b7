"""Compute how many links every pool should hold now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pool.model.forecast import NO_PAST, target
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Level


def split(target: int, levels: Sequence[Level]) -> dict[str, int]:
    """Return how many of a meeting's links each of its pools should hold, by the pools' names.

    Half goes by equal parts, as customers do, and half by the pools' claim rates. Each gets at
    least one link if there are enough.
    """
    if len(levels) == 1:
        return {levels[0].sid: target}
    rate = sum(level.claims_per_second for level in levels)
    least = 1 if target >= len(levels) else 0
    rest = target - least * len(levels)
    parts = []
    for level in levels:
        even = 1 / len(levels)
        busy = level.claims_per_second / rate if rate > 0 else even
        parts.append(rest * (even + busy) / 2)
    found = {level.sid: least + int(part) for level, part in zip(levels, parts, strict=True)}
    # What is left of rounding goes to those that lost most by it.
    left = target - sum(found.values())
    by_loss = sorted(zip(parts, levels, strict=True), key=lambda each: int(each[0]) - each[0])
    for _, level in by_loss[:left]:
        found[level.sid] += 1
    return found


async def targets(
    store: Store, meetings: Mapping[str, Meeting], levels: Sequence[Level]
) -> dict[str, int]:
    """Return the targets of these meetings, by SID.

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
