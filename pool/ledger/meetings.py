"""Keep meetings: the settings of their pools, and the seals of orderly stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select, update
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from pool.errors import UnknownMeeting
from pool.ledger.database import Database
from pool.ledger.facts import put_fact
from pool.ledger.fresh_links import set_epoch_of_fresh
from pool.ledger.tables import facts, meetings
from pool.model.meetings import Meeting
from pool.model.pools import sid_of

SEAL = "seal:"  # begins the fact that has the seal of one of several pools of a meeting
_names = tuple(field.name for field in fields(Meeting))
_columns = tuple(meetings.c[name] for name in _names)
_SELECT: Select[Any] = select(*_columns)  # as SELECT_LINKS of rows.py


class Meetings:
    """The meetings that have a pool. They are never deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Meeting]:
        """Return all meetings, in the order of their SIDs."""
        rows = await self._database.rows(_SELECT.order_by(meetings.c.sid))
        return [_meeting(row) for row in rows]

    async def get(self, sid: str) -> Meeting | None:
        """Return the meeting of this SID, or None if there is none."""
        rows = await self._database.rows(_SELECT.where(meetings.c.sid == sid))
        return _meeting(rows[0]) if rows else None

    async def put(self, meeting: Meeting) -> bool:
        """Keep the meeting's settings. Return True if there was no such meeting before.

        A known meeting stays closed or open as it is, which only `close` changes.
        """
        values = {name: getattr(meeting, name) for name in _names}
        settings = {name: value for name, value in values.items() if name != "closed_reason"}
        insert = self._database.insert(meetings).values(values).on_conflict_do_nothing()

        def work(connection: Connection) -> bool:
            if connection.scalar(insert.returning(meetings.c.sid)) is not None:
                return True
            connection.execute(
                update(meetings).where(meetings.c.sid == meeting.sid).values(settings)
            )
            return False

        return await self._database.write(work)

    async def change(self, sid: str, settings: Mapping[str, Any]) -> Meeting:
        """Change these settings of a meeting and no others. Return the meeting as it is then.

        A change that somebody else makes to another setting at the same time is kept; `put` would
        undo it. Raise UnknownMeeting.
        """
        if settings:
            changed = update(meetings).where(meetings.c.sid == sid).values(**settings)
            rows = await self._database.changed(changed.returning(*_columns))
            meeting = _meeting(rows[0]) if rows else None
        else:
            meeting = await self.get(sid)
        if meeting is None:
            raise UnknownMeeting(f"there is no meeting {sid}")
        return meeting

    async def close(self, sid: str, reason: str) -> bool:
        """Keep why a meeting is closed at the provider, empty if it is not. Return True if new."""
        statement = (
            update(meetings)
            .where(meetings.c.sid == sid, meetings.c.closed_reason != reason)
            .values(closed_reason=reason)
        )
        return await self._database.change(statement) == 1

    async def seal(self, pool: str, token: str) -> None:
        """Keep the token with which this pool was sealed, in place of any earlier one.

        Raise UnknownMeeting.
        """
        sid = sid_of(pool)
        if pool != sid:
            await self._database.change(put_fact(self._database, f"{SEAL}{pool}", token))
            return
        statement = (
            update(meetings)
            .where(meetings.c.sid == sid)
            .values(seal_token=token)
            .returning(meetings.c.sid)
        )
        if not await self._database.changed(statement):
            raise UnknownMeeting(f"there is no meeting {sid}")

    async def spend_seal(self, pool: str, token: str, new_epoch: str) -> bool:
        """Forget the pool's seal if `token` is its token, and move its fresh links to `new_epoch`.

        Both happen or neither. Return False if the token is not the one that is kept. A token is
        good once, so that an old copy of Redis with the same seal is not believed later.
        """
        of_whole: ReturningUpdate[Any] = (
            update(meetings)
            .where(meetings.c.sid == pool, meetings.c.seal_token == token)
            .values(seal_token=None)
            .returning(meetings.c.sid)
        )
        of_shard: ReturningDelete[Any] = (
            delete(facts)
            .where(facts.c.name == f"{SEAL}{pool}", facts.c.value == token)
            .returning(facts.c.name)
        )
        spend = of_whole if pool == sid_of(pool) else of_shard

        def work(connection: Connection) -> bool:
            if connection.scalar(spend) is None:
                return False
            set_epoch_of_fresh(connection, pool, new_epoch)
            return True

        return await self._database.write(work)

    async def forget_seals(self) -> int:
        """Forget the seal of every meeting. Return how many there were.

        This is for a ledger that was put back to a backup: a Redis put back with it would bear the
        same seals, and hand out once more what was handed out since.
        """
        whole = update(meetings).where(meetings.c.seal_token.is_not(None)).values(seal_token=None)
        shards = delete(facts).where(facts.c.name.startswith(SEAL, autoescape=True))

        def work(connection: Connection) -> int:
            return connection.execute(whole).rowcount + connection.execute(shards).rowcount

        return await self._database.write(work)


def _meeting(row: Row[Any]) -> Meeting:
    return Meeting(*row)
