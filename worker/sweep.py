"""Task `sweep`: look at every pool and decide which tasks are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pool.compose import Parts
from pool.errors import StoreUnavailable
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.model.times import to_ms
from pool.nudges import NOTIFY, RECORD, RECOVER, SETTLE, TOP_UP
from pool.store.published import digest
from pool.store.records import Level
from pool.supply.targets import split, targets
from worker import incidents, notify
from worker.each import report


async def sweep(parts: Parts) -> list[tuple[str, dict[str, Any]]]:
    """Return the tasks that are due now, each with its arguments.

    Also leave a heartbeat, and make Redis agree with the ledger on the meetings.
    """
    now = datetime.now(UTC)
    await parts.store.heartbeat(to_ms(now))
    meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
    looked = await parts.store.look_at([meetings[sid] for sid in sorted(meetings)])
    levels = looked.meetings
    for level in looked.pools:
        if level.fence == "unreadable":
            report(parts, "sweep", level.sid, StoreUnavailable(level.problem))
    strangers = parts.recovery.strangers
    foreign = [*await strangers.find(looked.pools), *await strangers.everywhere(meetings.keys())]
    await strangers.disown(foreign)
    await _publish(parts, meetings, levels)
    await parts.bases.publish()
    due: list[tuple[str, dict[str, Any]]] = []
    wanted = await targets(parts.store, meetings, levels)
    fallen = await parts.recovery.fallen(looked.pools)
    # Until the former pools of a meeting are closed, its totals are not all in one place.
    changing = await parts.recovery.former.in_the_way(fallen)
    await parts.store.history.sample(
        [level for level in levels if level.sid not in changing],
        wanted,
        sweep_seconds=parts.settings.sweep_seconds,
    )
    await incidents.observe(parts, meetings, levels, wanted)
    if await notify.observe(parts, meetings, levels, wanted):
        due.append((NOTIFY, {}))
    ours = any(sid_of(level.sid) in meetings for level in foreign)
    if ours or fallen:
        due.append((RECOVER, {}))
    if any(level.backlog for level in levels):
        due.append((RECORD, {}))
    if await parts.ledger.inbox.due(now, 1):
        due.append((SETTLE, {}))
    low = {
        meetings[level.sid].workspace
        for level, pools in zip(levels, looked.parts, strict=True)
        if not meetings[level.sid].is_stopped and _is_any_low(pools, wanted[level.sid])
    }
    due += [(TOP_UP, {"workspace": name}) for name in sorted(low)]
    return due


async def _publish(parts: Parts, meetings: Mapping[str, Meeting], levels: Sequence[Level]) -> None:
    """Take to Redis the settings of meetings that it lacks, or has others of."""
    listed = set(await parts.store.published.sids())
    await parts.store.published.put(
        [
            meetings[level.sid]
            for level in levels
            if level.fence != "unreadable"
            and (level.published != digest(meetings[level.sid]) or level.sid not in listed)
        ]
    )


def _is_any_low(pools: Sequence[Level], wanted: int) -> bool:
    """Return True if one of a meeting's pools that serve is below its part of the target."""
    of_each = split(wanted, pools)
    return any(pool.fence == "stands" and pool.fresh < of_each[pool.sid] for pool in pools)
