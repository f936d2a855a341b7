"""Search links by the text that an operator has at hand."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.rows import LINK, links_of
from pool.ledger.tables import links
from pool.model.emails import kept_forms
from pool.model.links import Link


@dataclass(frozen=True, slots=True)
class Found:
    """A link, with the facts that only the ledger has."""

    link: Link
    withdrawn_at: datetime | None  # when it was retired or quarantined
    forgotten_at: datetime | None  # when its customer was erased
    withdrawn_reason: str | None = None  # why its customer was given another one

    @property
    def replaced(self) -> tuple[datetime, str] | None:
        """Return when and why another link replaced it, or None if none did."""
        if self.withdrawn_at is None or self.withdrawn_reason is None:
            return None
        return self.withdrawn_at, self.withdrawn_reason


class Search:
    """A search for links by slug, booking, customer or e-mail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def links(self, text: str, sids: Collection[str], *, limit: int = 50) -> list[Found]:
        """Return the links of these meetings that `text` names, the last moved first.

        The whole text is tried as a slug, a booking's SID, a customer id and, if it has an @, an
        e-mail. Case counts, except in e-mails. Return at most `limit` links of each kind.
        """
        text = storable(text)
        here = self._database.among(links.c.meeting_sid, sids)
        # One statement for each kind, since each has an index of its own.
        wanted: list[ColumnElement[bool]] = [
            links.c.slug == text,
            links.c.booking_sid == text,
            links.c.customer_id == text,
        ]
        if "@" in text:
            wanted.append(links.c.email_key.in_(sorted(kept_forms(text))))
        found: dict[str, Found] = {}
        for condition in wanted:
            for each in await self._found(condition & here, limit):
                found[each.link.slug] = each
        return sorted(found.values(), key=lambda each: _last_moved(each.link), reverse=True)

    async def link(self, slug: str) -> Found | None:
        """Return the link of this slug, or None if it is not known."""
        return next(iter(await self._found(links.c.slug == storable(slug), 1)), None)

    async def _found(self, condition: ColumnElement[bool], limit: int) -> list[Found]:
        columns: tuple[Any, ...] = (
            *LINK,
            links.c.withdrawn_at,
            links.c.forgotten_at,
            links.c.withdrawn_reason,
        )
        statement = select(*columns).where(condition).limit(limit)
        rows = await self._database.rows(statement)
        whole = len(LINK)
        return [
            Found(link, *row[whole:])
            for link, row in zip(links_of(row[:whole] for row in rows), rows, strict=True)
        ]


def _last_moved(link: Link) -> datetime:
    moments = (link.created_at, link.claimed_at, link.consumed_at, link.cancelled_at)
    return max(at for at in moments if at is not None)
