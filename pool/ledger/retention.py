"""Retention: the inbox keeps events for a while, and the bodies of most for less."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update

from pool.ledger.database import Database
from pool.ledger.records import EventState
from pool.ledger.tables import READABLE, inbox

_DONE = (EventState.SETTLED, EventState.IGNORED)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one batch took away. `more` says whether another would find something."""

    events: int
    bodies: int
    more: bool


class Retention:
    """Takes old events out of the inbox, a bounded number at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(
        self, *, events_before: datetime, bodies_before: datetime, limit: int = 500
    ) -> Pruned:
        """Delete events that came before a time, and blank the bodies of others.

        An event that waits to be settled is never deleted. Bodies go from those that nothing
        more is to be learned from; an unmatched or dead one may still be assigned by a person.
        """
        old = (
            select(inbox.c.id)
            .where(inbox.c.received_at < events_before, inbox.c.state != EventState.PENDING)
            .order_by(inbox.c.received_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        deleted = await self._database.change(delete(inbox).where(inbox.c.id.in_(old)))
        blanked = 0
        for state in _DONE:
            readable = (
                select(inbox.c.id)
                .where(READABLE, inbox.c.state == state, inbox.c.received_at < bodies_before)
                .order_by(inbox.c.received_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            statement = update(inbox).where(inbox.c.id.in_(readable))
            blanked += await self._database.change(statement.values(body=b"", marks=b""))
        return Pruned(deleted, blanked, deleted >= limit or blanked >= limit)
