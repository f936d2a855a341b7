"""Task `sweep`: look at every pool and decide which tasks are due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pool.compose import Parts
from pool.errors import StoreUnavailable
from pool.model.times import to_ms
from pool.nudges import NOTIFY, RECORD, RECOVER, SETTLE, TOP_UP
from pool.store.published import digest
from pool.supply.targets import targets
from worker import incidents, notify
from worker.each import report


async def sweep(parts: Parts) -> list[tuple[str, dict[str, Any]]]:
    """Return the tasks that are due now, each with its arguments.

    Leave a heartbeat, too, and make Redis agree with the ledger on the meetings.
    """
    now = datetime.now(UTC)
    await parts.store.heartbeat(to_ms(now))
    meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
    levels = await parts.store.look(sorted(meetings))
    for level in levels:
        if level.fence == "unreadable":
            report(parts, "sweep", level.sid, StoreUnavailable(level.problem))
    listed = set(await parts.store.published.sids())
    strangers = parts.recovery.strangers
    foreign = [*await strangers.find(levels), *await strangers.everywhere(meetings.keys())]
    await strangers.disown(foreign)
    await parts.store.published.put(
        [
            meetings[level.sid]
            for level in levels
            if level.fence != "unreadable"
            and (level.published != digest(meetings[level.sid]) or level.sid not in listed)
        ]
    )
    await parts.bases.publish()
    due: list[tuple[str, dict[str, Any]]] = []
    low: set[str] = set()
    wanted = await targets(parts.store, meetings, levels)
    for level in levels:
        meeting = meetings[level.sid]
        if level.fence == "stands" and not meeting.is_stopped and level.fresh < wanted[level.sid]:
            low.add(meeting.workspace)
    await parts.store.history.sample(levels, wanted, sweep_seconds=parts.settings.sweep_seconds)
    await incidents.observe(parts, meetings, levels, wanted)
    if await notify.observe(parts, meetings, levels, wanted):
        due.append((NOTIFY, {}))
    ours = any(level.sid in meetings for level in foreign)
    if ours or await parts.recovery.fallen(levels):
        due.append((RECOVER, {}))
    if any(level.backlog for level in levels):
        due.append((RECORD, {}))
    if await parts.ledger.inbox.due(now, 1):
        due.append((SETTLE, {}))
    due += [(TOP_UP, {"workspace": name}) for name in sorted(low)]
    return due
