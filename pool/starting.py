"""What must be true before claims can be served: schema, meetings, pools."""

from __future__ import annotations

from pool.compose import compose
from pool.errors import UnknownWorkspace
from pool.meetings import Meeting
from pool.settings import DEFAULT_WORKSPACE, Settings


async def prepare(settings: Settings, sids: list[str]) -> None:
    """Migrates the ledger, declares meetings, and opens every pool. Safe to run again.

    `sids` are declared with default settings unless they are known; what linkpool.toml
    declares keeps following that file. Raises LinkpoolError.
    """
    async with compose(settings) as parts:
        await parts.ledger.upgrade()
        await parts.check_secret_key()
        known = {meeting.sid: meeting for meeting in await parts.ledger.meetings.all()}
        declared = [Meeting(sid) for sid in sids if sid not in known]
        for sid, defaults in settings.meetings.items():
            base = known.get(sid, Meeting(sid))
            given = {
                name: value for name, value in defaults.model_dump().items() if value is not None
            }
            declared.append(_replaced(base, given))
        for meeting in declared:
            if settings.workspace(meeting.workspace) is None:
                raise UnknownWorkspace(
                    f"meeting {meeting.sid} is of workspace {meeting.workspace}, which is not "
                    f"configured; {DEFAULT_WORKSPACE!r} comes from LINKPOOL_NEETOCAL_SUBDOMAIN "
                    "and LINKPOOL_NEETOCAL_API_KEY, others from linkpool.toml"
                )
            if known.get(meeting.sid) != meeting:
                await parts.ledger.meetings.put(meeting)
        meetings = await parts.ledger.meetings.all()
        await parts.store.published.put(meetings)
        for meeting in meetings:
            # No API process serves yet: there is nobody to wait for.
            await parts.fence.recover(meeting.sid, grace_seconds=0.0)


def _replaced(meeting: Meeting, given: dict[str, object]) -> Meeting:
    from dataclasses import replace

    from pool.administration import check_meeting

    changed = replace(meeting, **given)  # type: ignore[arg-type]
    check_meeting(changed)
    return changed
