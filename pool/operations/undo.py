"""Take back the last change of a meeting's settings, if nothing else has changed since."""

from __future__ import annotations

from pool.errors import InvalidRequest
from pool.ledger import Ledger
from pool.ledger.records import AuditEntry
from pool.model.meetings import Meeting
from pool.operations.administration import Administration

_REASON_CHARACTERS = 400


async def undoable(ledger: Ledger, meeting: Meeting) -> AuditEntry | None:
    """Return the change of settings that can be undone, None if there is none.

    It is the last one, if it changed anything and its settings are still the present ones.
    Raise LedgerUnavailable.
    """
    last = await ledger.audit.latest("put", meeting.sid)
    if last is None or not last.before or last.before == last.detail:
        return None
    still = all(getattr(meeting, name, None) == value for name, value in last.detail.items())
    return last if still else None


async def undo(
    ledger: Ledger,
    administration: Administration,
    sid: str,
    entry_id: int,
    actor: str,
    *,
    limited: bool = False,
) -> tuple[Meeting, AuditEntry]:
    """Restore the settings from before this entry of the audit. Return the meeting and the entry.

    Raise InvalidRequest if the settings were changed since, and as `Administration.put` does.
    """
    meeting = await ledger.meetings.get(sid)
    entry = await undoable(ledger, meeting) if meeting else None
    if entry is None or entry.before is None or entry.id != entry_id:
        raise InvalidRequest("the settings were changed since then, so that was not undone")
    reason = f"Undo of: {entry.reason[:_REASON_CHARACTERS]}" if entry.reason else "Undo"
    restored, _ = await administration.put(
        sid, dict(entry.before), actor, reason=reason, limited=limited
    )
    return restored, entry
