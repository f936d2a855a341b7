"""Task `recover`: pools whose fence has fallen serve again."""

from __future__ import annotations

from pool.compose import Parts
from pool.fence import Recovered


async def recover(parts: Parts, sid: str | None) -> set[str]:
    """Recovers one meeting, or all that need it; the workspaces to top up now."""
    meetings = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
    sids = [sid] if sid else sorted(meetings)
    workspaces = set()
    for level in await parts.store.look(sids):
        if level.fence == "fallen":
            result = await parts.fence.recover(level.sid)
            if result in (Recovered.OPENED, Recovered.QUARANTINED) and level.sid in meetings:
                workspaces.add(meetings[level.sid].workspace)
    return workspaces
