"""Delete old events from the inbox, and the bodies of most events sooner."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, and_, delete, func, select, update

from pool.ledger.database import Database
from pool.ledger.records import EventState
from pool.ledger.tables import READABLE, inbox

BODY_SHARE = 3  # a body is kept for one third of the time that its event is
_DONE = (EventState.SETTLED, EventState.IGNORED)


@dataclass(frozen=True, slots=True)
class Pruned:
    """The numbers of deleted rows. `more` is True if there was more to delete."""

    events: int
    bodies: int
    more: bool


class Retention:
    """The deletion of old events from the inbox, a bounded number at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, days: int, *, seconds: float) -> Pruned:
        """Delete events that were kept for `days`, and bodies that were kept for a third of that.

        It works in batches, for about `seconds` at most. Return what was deleted.
        """
        until, events, bodies = time.monotonic() + seconds, 0, 0
        events_before, bodies_before = _ends(days)
        while True:
            batch = await self.prune(events_before=events_before, bodies_before=bodies_before)
            events, bodies = events + batch.events, bodies + batch.bodies
            if not batch.more or time.monotonic() > until:
                return Pruned(events, bodies, batch.more)

    async def count(self, days: int) -> Pruned:
        """Return what `run` would delete."""
        events_before, bodies_before = _ends(days)
        old = (inbox.c.received_at < events_before) & (inbox.c.state != EventState.PENDING)
        is_done = inbox.c.state.in_(_DONE)
        readable = and_(READABLE, is_done, inbox.c.received_at < bodies_before, ~old)

        def work(connection: Connection) -> list[int]:
            number = select(func.count()).select_from(inbox)
            return [connection.scalar(number.where(each)) or 0 for each in (old, readable)]

        events, bodies = await self._database.migrate(work)
        return Pruned(events, bodies, more=False)

    async def prune(
        self, *, events_before: datetime, bodies_before: datetime, limit: int = 500
    ) -> Pruned:
        """Delete events that came before a time, and blank the bodies of others.

        An event that waits to be settled is never deleted. Bodies are blanked only where nothing
        more can be learned from them: an unmatched or dead event may still be assigned by a person.
        """
        old = (
            select(inbox.c.id)
            .where(inbox.c.received_at < events_before, inbox.c.state != EventState.PENDING)
            .order_by(inbox.c.received_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        deleted = await self._database.change(delete(inbox).where(inbox.c.id.in_(old)))
        # Only the index over bodies has this order. In the order of time alone, PostgreSQL would
        # read all events whose bodies are blank already.
        readable = (
            select(inbox.c.id)
            .where(READABLE, inbox.c.state.in_(_DONE), inbox.c.received_at < bodies_before)
            .order_by(inbox.c.state, inbox.c.received_at, inbox.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = update(inbox).where(inbox.c.id.in_(readable))
        blanked = await self._database.change(statement.values(body=b"", marks=b""))
        return Pruned(deleted, blanked, deleted >= limit or blanked >= limit)


def _ends(days: int) -> tuple[datetime, datetime]:
    """Return the times before which events, and bodies, are deleted."""
    now, kept = datetime.now(UTC), timedelta(days=days)
    return now - kept, now - kept / BODY_SHARE
