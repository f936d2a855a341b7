"""Keep the audit: who did what to which meeting, when and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, insert, select

from pool.ledger.database import Database
from pool.ledger.records import AuditEntry
from pool.ledger.tables import audit

_Entries = list[AuditEntry]  # Audit.list hides the builtin
SHOWN = "show booker"  # a person had the name and e-mail of an event's booker shown
EVENT_ACTIONS = ("assign", "replay", SHOWN)


class Audit:
    """The actions of operators. Entries are only ever added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        actor: str,
        action: str,
        meeting_sid: str | None = None,
        reason: str = "",
        detail: Mapping[str, object] | None = None,
        before: Mapping[str, object] | None = None,
    ) -> None:
        """Note an action, with the present time; `before` is what changed settings were."""
        await self._database.change(
            insert(audit).values(
                at=datetime.now(UTC),
                actor=actor,
                action=action,
                meeting_sid=meeting_sid,
                reason=reason,
                detail=dict(detail or {}),
                before=None if before is None else dict(before),
            )
        )

    async def list(
        self,
        limit: int = 100,
        meeting_sid: str | None = None,
        *,
        actor: str | None = None,
        among: Collection[str] | None = None,
        before_id: int | None = None,
    ) -> _Entries:
        """Return the latest actions, the newest first: all, or those on a meeting or by an actor.

        With `among`, return only actions on these meetings. `before_id` is the last entry of the
        page before, if there was one.
        """
        statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if meeting_sid is not None:
            statement = statement.where(audit.c.meeting_sid == meeting_sid)
        if actor is not None:
            statement = statement.where(audit.c.actor == actor)
        if among is not None:
            statement = statement.where(self._database.among(audit.c.meeting_sid, among))
        if before_id is not None:
            statement = statement.where(audit.c.id < before_id)
        return await self._list(statement)

    async def latest(self, action: str, meeting_sid: str) -> AuditEntry | None:
        """Return the last such action on a meeting, None if there was none."""
        found = await self._list(
            select(audit)
            .where(audit.c.meeting_sid == meeting_sid, audit.c.action == action)
            .order_by(audit.c.id.desc())
            .limit(1)
        )
        return found[0] if found else None

    async def of_events(self, event_ids: Collection[str]) -> _Entries:
        """Return what people did to these webhook events, the oldest first."""
        if not event_ids:
            return []
        statement = (
            select(audit)
            .where(
                audit.c.action.in_(EVENT_ACTIONS),
                audit.c.detail["event"].as_string().in_(list(event_ids)),
            )
            .order_by(audit.c.id)
        )
        return await self._list(statement)

    async def _list(self, statement: Select[Any]) -> _Entries:
        return [AuditEntry(*row) for row in await self._database.rows(statement)]
