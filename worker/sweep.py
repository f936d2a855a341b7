"""Task `sweep`: looks at everything, and says what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pool.compose import Parts
from pool.nudges import RECORD, RECOVER, SETTLE, TOP_UP
from pool.recorder import to_ms


async def sweep(parts: Parts) -> list[tuple[str, dict[str, Any]]]:
    """The tasks that are due now, each with its arguments.

    Also leaves a heartbeat, and makes Redis agree with the ledger on the meetings.
    """
    now = datetime.now(UTC)
    await parts.store.heartbeat(to_ms(now))
    meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
    published = {meeting.sid: meeting for meeting in await parts.store.published.all()}
    await parts.store.published.put(
        [meeting for sid, meeting in meetings.items() if published.get(sid) != meeting]
    )
    due: list[tuple[str, dict[str, Any]]] = []
    low: set[str] = set()
    levels = await parts.store.look(sorted(meetings))
    for level in levels:
        meeting = meetings[level.sid]
        if level.fence == "stands" and not meeting.paused:
            target = meeting.target(level.claims_per_second)
            if level.fresh < target:
                low.add(meeting.workspace)
    if await parts.fence.fallen(levels):
        due.append((RECOVER, {}))
    if any(level.backlog for level in levels):
        due.append((RECORD, {}))
    if await parts.ledger.inbox.due(now, 1):
        due.append((SETTLE, {}))
    due += [(TOP_UP, {"workspace": name}) for name in sorted(low)]
    return due
