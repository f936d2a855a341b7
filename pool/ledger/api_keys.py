"""Keep API keys, as hashes only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select, update

from pool.ledger.database import Database
from pool.ledger.in_order import in_order
from pool.ledger.records import ApiKey
from pool.ledger.tables import api_keys


class Keys:
    """All API keys, including revoked ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> None:
        """Add a new key. Raise IntegrityError if its id or digest is in use."""
        await self._database.change(
            self._database.insert(api_keys).values(
                asdict(key)
                | {
                    "scopes": sorted(key.scopes),
                    "meetings": None if key.meetings is None else sorted(key.meetings),
                }
            )
        )

    async def all(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        statement = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        return [
            ApiKey(
                **dict(row._mapping)
                | {
                    "scopes": frozenset(row.scopes),
                    "meetings": None if row.meetings is None else frozenset(row.meetings),
                    "networks": None if row.networks is None else tuple(row.networks),
                }
            )
            for row in await self._database.rows(statement)
        ]

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """Revoke a key. Return False if no key of this id was still valid."""
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        return await self._database.change(statement) == 1

    async def expire(self, key_id: str, at: datetime) -> None:
        """Make a key expire at this time, unless it expires sooner."""
        sooner = api_keys.c.expires_at.is_not(None) & (api_keys.c.expires_at <= at)
        statement = update(api_keys).where(api_keys.c.id == key_id, ~sooner).values(expires_at=at)
        await self._database.change(statement)

    async def note_use(self, key_ids: Iterable[str], at: datetime) -> None:
        """Note that these keys were used at this time."""
        statement = (
            update(api_keys)
            .where(in_order(api_keys.c.id, self._database.among(api_keys.c.id, key_ids)))
            .values(last_used_at=at)
        )
        await self._database.change(statement)
