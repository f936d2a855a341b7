"""What operators do to meetings, whoever asks: the API, the page or the command line.

Each action writes the ledger first, then Redis, then the audit log; the sweep finishes what
a crash leaves half done.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pool.config.settings import Settings
from pool.durability.erasure import Erasure
from pool.durability.recovery import PoolRecovery
from pool.errors import Forbidden, InvalidRequest, UnknownClaim, UnknownMeeting, UnknownWorkspace
from pool.ledger import Ledger
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.store import Store

_DRAIN_BATCH = 1_000
URL_CHARACTERS = 2_048


class Administration:
    """Actions on meetings; each raises UnknownMeeting where there is none."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        erasure: Erasure,
        recovery: PoolRecovery,
        settings: Settings,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._erasure = erasure
        self._recovery = recovery
        self._settings = settings

    async def put(
        self,
        sid: str,
        changes: dict[str, Any],
        actor: str,
        *,
        reason: str = "",
        limited: bool = False,
    ) -> tuple[Meeting, bool]:
        """Makes a meeting or changes the settings given; the meeting, and whether it is new.

        Whoever is `limited` to some meetings chooses no workspace: its links and its requests
        belong to others, too. Raises InvalidRequest, UnknownWorkspace, Forbidden,
        LedgerUnavailable or StoreUnavailable.
        """
        before = await self._ledger.meetings.get(sid)
        meeting = replace(before or Meeting(sid), **changes)
        if limited and meeting.workspace != (before or Meeting(sid)).workspace:
            raise Forbidden("this key is limited to some meetings, and may not choose a workspace")
        check_meeting(meeting)
        if self._settings.workspace(meeting.workspace) is None:
            raise UnknownWorkspace(
                f"workspace {meeting.workspace} is not configured; see LINKPOOL_NEETOCAL_SUBDOMAIN"
            )
        await self._write(meeting)
        await self._ledger.audit.add(actor, "put", sid, reason, changes)
        if before is None:
            await self._recovery.recover(sid)
        return meeting, before is None

    async def pause(self, sid: str, reason: str, actor: str) -> Meeting:
        """Stops top-up and claims of new links; existing bindings still answer."""
        meeting = replace(await self._get(sid), paused=True, pause_reason=reason)
        await self._write(meeting)
        await self._ledger.audit.add(actor, "pause", sid, reason, {})
        return meeting

    async def resume(self, sid: str, reason: str, actor: str, *, limited: bool = False) -> Meeting:
        """Ends a pause, and probes a blocked or closed meeting at once.

        Whoever is `limited` to some meetings lifts no block of the workspace.
        """
        meeting = replace(await self._get(sid), paused=False, pause_reason="", closed_reason="")
        # The provider is asked again, and its word on whether the meeting is closed counts anew.
        await self._ledger.meetings.close(sid, "")
        await self._write(meeting)
        await self._unblock(meeting, limited=limited)
        await self._ledger.audit.add(actor, "resume", sid, reason, {})
        return meeting

    async def top_up(self, sid: str, reason: str, actor: str, *, limited: bool = False) -> Meeting:
        """Clears blocks, so that the next top-up asks the provider again; the caller nudges.

        Whoever is `limited` to some meetings lifts no block of the workspace.
        """
        meeting = await self._get(sid)
        await self._unblock(meeting, limited=limited)
        await self._ledger.audit.add(actor, "top-up", sid, reason, {})
        return meeting

    async def drainable(self, sid: str) -> int:
        """How many fresh links a drain would retire at this moment."""
        [level] = await self._store.look([(await self._get(sid)).sid])
        return level.fresh

    async def drain(self, sid: str, reason: str, actor: str) -> tuple[Meeting, int]:
        """Retires all fresh links; the meeting, and how many."""
        meeting = await self._get(sid)
        # What was made until now, by whichever clock: top-up may be adding links beside this,
        # and its clock and Redis's may be apart from ours.
        newest_ms = await self._store.newest_ms(sid)
        retired = 0
        while newest_ms is not None and (
            slugs := await self._store.stock.take_out(sid, up_to_ms=newest_ms, limit=_DRAIN_BATCH)
        ):
            moved = await self._ledger.links.move(slugs, State.RETIRED, at=datetime.now(UTC))
            retired += len(moved)
        await self._ledger.audit.add(actor, "drain", sid, reason, {"retired": retired})
        return meeting, retired

    async def forget(self, sid: str, customer_id: str, actor: str) -> None:
        """Erases a customer everywhere; their links are never used again.

        Raises UnknownClaim if the customer has none, and nothing is left of an erasing that
        was begun. Raises what Erasure.forget() does when something is left.
        """
        await self._get(sid)
        links = await self._erasure.forget(sid, customer_id)
        if not links:
            raise UnknownClaim("this customer holds no link of this meeting")
        await self._ledger.audit.add(actor, "forget", sid, "", {"links": links})

    async def _get(self, sid: str) -> Meeting:
        meeting = await self._ledger.meetings.get(sid)
        if meeting is None:
            raise UnknownMeeting(f"there is no meeting {sid}; add it with PUT /v1/meetings/{sid}")
        return meeting

    async def _write(self, meeting: Meeting) -> None:
        await self._ledger.meetings.put(meeting)
        await self._store.published.put([meeting])

    async def _unblock(self, meeting: Meeting, *, limited: bool) -> None:
        await self._store.blocks.put(meeting.sid, None)
        if limited:
            return
        await self._store.blocks.put_workspace(meeting.workspace, None)


def check_meeting(meeting: Meeting) -> None:
    """Raises InvalidRequest if the settings do not go together."""
    problems = []
    if meeting.max_fresh < max(1, meeting.min_fresh):
        problems.append(f"max_fresh: {meeting.max_fresh} is below min_fresh ({meeting.min_fresh})")
    if meeting.fallback_url is not None:
        url = meeting.fallback_url
        if not _is_web_address(url):
            problems.append("fallback_url: must be an http:// or https:// address")
    if problems:
        raise InvalidRequest("the meeting's settings do not go together", problems)


def _is_web_address(url: str) -> bool:
    if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
