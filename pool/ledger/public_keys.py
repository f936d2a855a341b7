"""Keep the public keys of meetings."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select, update

from pool.ledger.database import Database
from pool.ledger.records import PublicKey
from pool.ledger.tables import public_keys


class PublicKeys:
    """All public keys, including revoked ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: PublicKey) -> None:
        """Add a new key."""
        await self._database.change(self._database.insert(public_keys).values(asdict(key)))

    async def all(self) -> list[PublicKey]:
        """Return all keys, the oldest first."""
        statement = select(public_keys).order_by(public_keys.c.created_at, public_keys.c.id)
        return [
            PublicKey(**dict(row._mapping) | {"origins": tuple(row.origins)})
            for row in await self._database.rows(statement)
        ]

    async def revoke(self, key_id: str, at: datetime, meeting_sid: str | None = None) -> str | None:
        """Revoke a key, of this meeting if one is given. Return its meeting's SID.

        Return None if no such key was valid.
        """
        statement = (
            update(public_keys)
            .where(public_keys.c.id == key_id, public_keys.c.revoked_at.is_(None))
            .values(revoked_at=at)
            .returning(public_keys.c.meeting_sid)
        )
        if meeting_sid is not None:
            statement = statement.where(public_keys.c.meeting_sid == meeting_sid)
        rows = await self._database.changed(statement)
        return str(rows[0].meeting_sid) if rows else None
