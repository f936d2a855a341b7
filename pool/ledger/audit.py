"""The audit: who did what to which meeting, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import insert, select

from pool.ledger.database import Database
from pool.ledger.records import AuditEntry
from pool.ledger.tables import audit

_Entries = list[AuditEntry]  # Audit.list hides the builtin


class Audit:
    """What operators did. Entries are only ever added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        actor: str,
        action: str,
        meeting_sid: str | None = None,
        reason: str = "",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Notes an action, now."""
        async with self._database.write() as connection:
            await connection.execute(
                insert(audit).values(
                    at=datetime.now(UTC),
                    actor=actor,
                    action=action,
                    meeting_sid=meeting_sid,
                    reason=reason,
                    detail=dict(detail or {}),
                )
            )

    async def list(self, limit: int = 100, meeting_sid: str | None = None) -> _Entries:
        """The latest actions, the newest first, all or those on one meeting."""
        statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if meeting_sid is not None:
            statement = statement.where(audit.c.meeting_sid == meeting_sid)
        async with self._database.read() as connection:
            return [AuditEntry(*row) for row in await connection.execute(statement)]
