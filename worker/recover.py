"""Task `recover`: make pools serve again whose fence has fallen."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from pool.compose import Parts
from pool.durability.former_pools import GRACE_SECONDS
from pool.durability.reopening import Recovered
from pool.model.outcomes import EVERYWHERE
from pool.model.pools import sid_of
from pool.store import key_names
from worker import incidents
from worker.each import report


async def recover(parts: Parts) -> set[str]:
    """Recover every pool that needs it. Return the workspaces to top up now.

    API processes get one moment, for all meetings together, to assert what they answered.
    """
    async with parts.store.locks.held(key_names.task_lock("recover")) as lock:
        if lock is None:
            return set()
        meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
        looked = await parts.store.look_at([meetings[sid] for sid in sorted(meetings)])
        fallen = await parts.recovery.fallen(looked.pools)
        if not fallen:
            return set()
        began_at, costs = datetime.now(UTC), dict[str, int]()
        baseline = (await parts.store.tallies.totals([EVERYWHERE])).turned_away
        await asyncio.sleep(GRACE_SECONDS)
        try:
            results = await parts.recovery.recover_all(
                fallen, grace_seconds=0.0, failed=partial(report, parts, "recover"), costs=costs
            )
        finally:
            if costs:
                await incidents.note_fence(parts, began_at, costs, baseline)
        emptied = (Recovered.OPENED, Recovered.QUARANTINED)
        return {
            meetings[sid_of(pool)].workspace
            for pool, result in results.items()
            if result in emptied
        }
