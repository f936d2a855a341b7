"""Keep which token secrets an API key has; never the secrets themselves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from pool.ledger.database import Database
from pool.ledger.records import TokenSecret
from pool.ledger.tables import api_keys, token_secrets


class TokenSecrets:
    """The ids of all token secrets, including revoked ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, secret: TokenSecret, *, at_most: int) -> bool:
        """Add a new secret. Return False if its key has `at_most` valid ones already."""
        # Held until the end of the transaction, so that two processes do not both count one less.
        lock = select(api_keys.c.id).where(api_keys.c.id == secret.key_id).with_for_update()
        held = select(func.count()).where(
            token_secrets.c.key_id == secret.key_id, token_secrets.c.revoked_at.is_(None)
        )
        new = self._database.insert(token_secrets).values(asdict(secret))

        def work(connection: Connection) -> bool:
            connection.execute(lock)
            if (connection.scalar(held) or 0) >= at_most:
                return False
            connection.execute(new)
            return True

        return await self._database.write(work)

    async def all(self) -> list[TokenSecret]:
        """Return all secrets' ids, the oldest first."""
        statement = select(token_secrets).order_by(token_secrets.c.created_at, token_secrets.c.id)
        return [TokenSecret(*row) for row in await self._database.rows(statement)]

    async def revoke(self, secret_id: str, at: datetime) -> str | None:
        """Revoke a secret. Return the id of its key, or None if no such secret was valid."""
        statement = (
            update(token_secrets)
            .where(token_secrets.c.id == secret_id, token_secrets.c.revoked_at.is_(None))
            .values(revoked_at=at)
            .returning(token_secrets.c.key_id)
        )
        rows = await self._database.changed(statement)
        return str(rows[0].key_id) if rows else None
