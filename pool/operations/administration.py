"""Perform the actions of operators on meetings, for the API, the page and the command line.

A change of a meeting is written to the ledger with its audit entry first, then to Redis, so that
none is in force that the audit log lacks; the sweep finishes what a crash leaves half done.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pool.config.settings import Settings
from pool.durability.erasure import Erasure
from pool.durability.recovery import PoolRecovery
from pool.errors import (
    Forbidden,
    InvalidRequest,
    NotInForceYet,
    StoreUnavailable,
    UnknownClaim,
    UnknownMeeting,
    UnknownWorkspace,
)
from pool.ledger import Ledger
from pool.model.incidents import Incident, What
from pool.model.links import State
from pool.model.meeting_rules import check_meeting
from pool.model.meetings import Meeting
from pool.store import Store

_DRAIN_BATCH = 1_000


class Administration:
    """Actions on meetings. Each raises UnknownMeeting if the meeting does not exist."""

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
        """Create a meeting, or change the given settings.

        Return the meeting, and True if it is new. A caller who is `limited` to some meetings may
        not choose the workspace, since its links and requests belong to other meetings, too.
        Raise InvalidRequest, UnknownWorkspace, Forbidden, LedgerUnavailable or NotInForceYet.
        """
        before = await self._ledger.meetings.get(sid)
        meeting = replace(before or Meeting(sid), **changes)
        if limited and meeting.workspace != (before or Meeting(sid)).workspace:
            raise Forbidden(
                "this key is limited to certain meetings and may not choose a workspace"
            )
        check_meeting(meeting)
        if self._settings.workspace(meeting.workspace) is None:
            raise UnknownWorkspace(
                f"workspace {meeting.workspace} is not configured; see LINKPOOL_NEETOCAL_SUBDOMAIN"
            )
        if before is not None and meeting.workspace != before.workspace:
            await self._move(sid, meeting.workspace)
        if before is None:
            await self._ledger.meetings.put(meeting)
        else:  # nothing else, so that a pause of this moment stays
            meeting = await self._ledger.meetings.change(sid, changes)
        was = {name: getattr(before, name) for name in changes} if before else None
        await self._ledger.audit.add(actor, "put", sid, reason, changes, was)
        if before is not None and changes:
            now = datetime.now(UTC)
            text = ", ".join(f"{name} {value}" for name, value in sorted(changes.items()))
            await self._ledger.incidents.add(Incident(What.SETTINGS, sid, now, now, text, (sid,)))
        await self._publish(meeting)
        if before is None:
            for pool in meeting.pools:
                await self._recovery.recover(pool)
        return meeting, before is None

    async def _move(self, sid: str, name: str) -> None:
        """Take the meeting's bookings to another workspace.

        Raise InvalidRequest if its links begin with another address than those there. Claims answer
        with the workspace's address, and would send customers to pages that do not exist.
        """
        workspace = self._settings.workspace(name)
        url = await self._ledger.links.any_url(sid)
        if url is not None and workspace is not None:
            begins = url.rpartition("/")[0]
            if begins != workspace.link_url:
                raise InvalidRequest(
                    "the meeting's links belong to its workspace",
                    [
                        f"workspace: links of this meeting begin with {begins}, those of "
                        f"workspace {name} with {workspace.link_url}; add the meeting of that "
                        "workspace by its own SID"
                    ],
                )
        await self._ledger.bookings.move(sid, name)

    async def pause(self, sid: str, reason: str, actor: str) -> Meeting:
        """Stop top-up and claims of new links. Customers who hold a link still get it."""
        await self._get(sid)
        changes = {"paused": True, "pause_reason": reason}
        meeting = await self._ledger.meetings.change(sid, changes)
        await self._ledger.audit.add(actor, "pause", sid, reason, {})
        away: int | None = None  # not known while Redis is silent
        try:
            await self._publish(meeting)
            away = (await self._store.tallies.totals([sid])).turned_away
        finally:
            await self._ledger.incidents.begin(
                Incident(What.PAUSE, sid, datetime.now(UTC), None, reason, (sid,), baseline=away)
            )
        return meeting

    async def resume(self, sid: str, reason: str, actor: str, *, limited: bool = False) -> Meeting:
        """End a pause, and probe a blocked or closed meeting at once.

        A caller who is `limited` to some meetings does not lift a block of the workspace.
        """
        await self._get(sid)
        # The provider is asked again, and decides anew whether the meeting is closed.
        await self._ledger.meetings.close(sid, "")
        meeting = await self._ledger.meetings.change(sid, {"paused": False, "pause_reason": ""})
        await self._ledger.audit.add(actor, "resume", sid, reason, {})
        await self._ledger.incidents.end(What.PAUSE, sid, datetime.now(UTC))
        await self._publish(meeting)
        await self._unblock(meeting, limited=limited)
        return meeting

    async def top_up(self, sid: str, reason: str, actor: str, *, limited: bool = False) -> Meeting:
        """Clear blocks, so that the next top-up asks the provider again. The caller nudges.

        A caller who is `limited` to some meetings does not lift a block of the workspace.
        """
        meeting = await self._get(sid)
        await self._unblock(meeting, limited=limited)
        await self._ledger.audit.add(actor, "top-up", sid, reason, {})
        return meeting

    async def drainable(self, sid: str) -> int:
        """Return how many fresh links a drain would retire at this moment."""
        looked = await self._store.look_at([await self._get(sid)])
        return looked.meetings[0].fresh

    async def drain(self, sid: str, reason: str, actor: str) -> tuple[Meeting, int]:
        """Retire all fresh links. Return the meeting, and how many links were retired."""
        meeting = await self._get(sid)
        retired = 0
        for pool in meeting.pools:
            retired += await self._drain_pool(pool)
        if retired:
            await self._store.tallies.add({(sid, "retired"): retired})
        await self._ledger.audit.add(actor, "drain", sid, reason, {"retired": retired})
        return meeting, retired

    async def _drain_pool(self, pool: str) -> int:
        # The newest link bounds the drain: top-up may be adding links at the same time, and its
        # clock and Redis's may differ from ours.
        newest_ms = await self._store.newest_ms(pool)
        retired = 0
        while newest_ms is not None and (
            slugs := await self._store.stock.take_out(pool, up_to_ms=newest_ms, limit=_DRAIN_BATCH)
        ):
            moved = await self._ledger.links.move(slugs, State.RETIRED, at=datetime.now(UTC))
            retired += len(moved)
        return retired

    async def forget(self, sid: str, customer_id: str, actor: str) -> None:
        """Erase a customer everywhere. Their links are never used again.

        Raise UnknownClaim if the customer has no links and no unfinished erasure. Raise the
        errors of Erasure.forget() if something is left to erase.
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

    async def _publish(self, meeting: Meeting) -> None:
        """Take to Redis what the ledger holds of a meeting. Raise NotInForceYet."""
        try:
            await self._store.published.put([meeting])
        except StoreUnavailable as error:
            raise NotInForceYet(
                "Redis does not answer; the ledger has the change, and it takes effect by itself "
                "as soon as Redis is back"
            ) from error

    async def _unblock(self, meeting: Meeting, *, limited: bool) -> None:
        await self._store.blocks.put(meeting.sid, None)
        if limited:
            return
        await self._store.blocks.put_workspace(meeting.workspace, None)
