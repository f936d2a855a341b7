"""Forgetting: a customer's data is erased, and stays erased."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, case, null, select, update

from pool.ledger.database import Database
from pool.ledger.records import Forgotten
from pool.ledger.rows import LINK, links_of
from pool.ledger.tables import forgotten, inbox, links, literal_state
from pool.links import Link, State


async def forget(database: Database, sid: str, customer_id: str, customer_name: str) -> list[Link]:
    """See Links.forget()."""
    look = (
        select(*LINK)
        .where(links.c.meeting_sid == sid, links.c.customer_id == customer_id)
        .order_by(links.c.slug)
        .with_for_update()
    )

    def erase(connection: Connection) -> list[Link]:
        before = links_of(connection.execute(look).all())
        if not before:
            return []
        slugs = [link.slug for link in before]
        now = datetime.now(UTC)
        connection.execute(
            update(links)
            .where(database.among(links.c.slug, slugs))
            .values(
                customer_id=null(),
                email=null(),
                email_key=null(),
                metadata=null(),
                forgotten_at=now,
                state=case(
                    (links.c.state == literal_state(State.CLAIMED), literal_state(State.LAPSED)),
                    else_=links.c.state,
                ),
            )
        )
        connection.execute(
            update(inbox).where(database.among(inbox.c.slug, slugs)).values(body=b"")
        )
        names = [
            {"slug": slug, "meeting_sid": sid, "customer_name": customer_name, "forgotten_at": now}
            for slug in slugs
        ]
        connection.execute(database.insert(forgotten).on_conflict_do_nothing(), names)
        return before

    return await database.write(erase)


async def forgotten_of(database: Database, sid: str, after: str, limit: int) -> list[Forgotten]:
    """A page of those whose customers were erased, in the order of their slugs."""
    page = (
        select(forgotten.c.slug, forgotten.c.customer_name)
        .where(forgotten.c.meeting_sid == sid, forgotten.c.slug > after)
        .order_by(forgotten.c.slug)
        .limit(limit)
    )
    return [Forgotten(*row) for row in await database.rows(page)]
