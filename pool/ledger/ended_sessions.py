"""Keep the page's sessions that were signed out of, whose cookies would still be valid."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from pool.ledger.database import Database
from pool.ledger.tables import ended_sessions


class EndedSessions:
    """Ended sessions by name: one session, or all that a key had opened until then."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, ended_at: datetime, forget_at: datetime) -> None:
        """Note that this was ended. If it is noted again, the later time counts."""
        values = {"ended_at": ended_at, "forget_at": forget_at}
        insert = self._database.insert(ended_sessions).values(name=name, **values)
        await self._database.change(
            insert.on_conflict_do_update(index_elements=[ended_sessions.c.name], set_=values)
        )
        # Cookies of that age have expired by themselves.
        await self._database.change(
            delete(ended_sessions).where(ended_sessions.c.forget_at < ended_at)
        )

    async def all(self) -> dict[str, datetime]:
        """Return when each was ended, by name."""
        rows = await self._database.rows(select(ended_sessions.c.name, ended_sessions.c.ended_at))
        return {row.name: row.ended_at for row in rows}
