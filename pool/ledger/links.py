"""Write, move and look up links."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, update

from pool.ledger.bindings import live_bindings
from pool.ledger.bulk import insert_links
from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.forget import OwnMarks, forget, forgotten_of
from pool.ledger.fresh_links import epochs_of_fresh, fresh_of, set_epoch_of_fresh
from pool.ledger.in_order import in_order
from pool.ledger.pruned import take_back_pruned
from pool.ledger.recording import record
from pool.ledger.records import Binding, Forgotten, Recorded, RecordedClaim
from pool.ledger.rows import SELECT_LINKS, link_of, links_of
from pool.ledger.tables import links, literal_state
from pool.model.emails import kept_forms, same_email
from pool.model.links import Link, State, states_before
from pool.model.marks import Marks

_BINDABLE = (State.CLAIMED, State.CONSUMED)


class Links:
    """All links ever made. Every write moves states only to the right and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- made and moved ---------------------------------------------------------

    async def insert_fresh(self, new: Sequence[Link]) -> set[str]:
        """Write fresh links. Return the slugs that were not known before.

        A slug that is known, was pruned, or is written by another process at the same time is
        left as it is and not returned: it must not enter a pool again.
        """
        first = {link.slug: link for link in reversed(new)}
        names = ("slug", "url", "meeting_sid", "source", "epoch", "created_at")
        rows = [
            {name: getattr(link, name) for name in names} | {"state": State.FRESH}
            for link in first.values()
        ]
        if not rows:
            return set()

        def work(connection: Connection) -> set[str]:
            inserted = insert_links(self._database, connection, rows)
            return take_back_pruned(self._database, connection, inserted)

        return await self._database.write(work)

    async def move(self, slugs: Sequence[str], new: State, *, at: datetime) -> list[str]:
        """Move the links that may move to `new` (retired, quarantined). Return their slugs."""
        if not slugs:
            return []
        movable = self._database.among(links.c.slug, slugs) & links.c.state.in_(states_before(new))
        statement = update(links).where(in_order(links.c.slug, movable))
        moved = await self._database.changed(
            statement.values(state=new, withdrawn_at=at).returning(links.c.slug)
        )
        return [slug for (slug,) in moved]

    async def quarantine_fresh(
        self,
        sid: str,
        *,
        at: datetime,
        epochs: Collection[str] | None = None,
        state: State = State.QUARANTINED,
    ) -> int:
        """Quarantine the meeting's fresh links, or those of some epochs. Return their number.

        With `state` they are retired instead: links that nobody can have seen.
        """
        statement = update(links).where(in_order(links.c.slug, fresh_of(sid, epochs)))
        return await self._database.change(statement.values(state=state, withdrawn_at=at))

    async def fresh_epochs(self, sid: str) -> list[str]:
        """Return the epochs of the meeting's fresh links, each of which is of one pool."""
        rows = await self._database.rows(epochs_of_fresh(sid))
        return [epoch for (epoch,) in rows]

    async def adopt_fresh(self, pool: str, new_epoch: str) -> int:
        """Move all fresh links of the pool to `new_epoch`. Return how many there are."""
        return await self._database.write(
            lambda connection: set_epoch_of_fresh(connection, pool, new_epoch)
        )

    async def record(self, claims: Sequence[RecordedClaim]) -> Recorded:
        """Write claims. A claim that was written before changes nothing.

        A link that is bound to another customer is left as it is and reported, and so is one
        whose customer was forgotten. Two processes may record the same claims at once.
        """
        return await record(self._database, claims)

    async def replaced(self, slug: str, customer_id: str, reason: str, *, at: datetime) -> bool:
        """Retire a link whose customer was given another one. Return True if it was theirs.

        They have it from an operator, or a booking of theirs stands on it. This is the only way
        from claimed to retired. A booking that turns up late still counts.
        """
        statement = (
            update(links)
            .where(
                links.c.slug == slug,
                links.c.customer_id == customer_id,
                links.c.state == literal_state(State.CLAIMED),
            )
            .values(state=State.RETIRED, withdrawn_at=at, withdrawn_reason=storable(reason))
        )
        return await self._database.change(statement) == 1

    async def lapse(self, now: datetime, limit: int = 10_000) -> Counter[str]:
        """Move up to `limit` claims whose time is over to lapsed, oldest first.

        Return how many of each meeting lapsed.
        """
        over = (
            select(links.c.slug)
            .where(links.c.state == literal_state(State.CLAIMED), links.c.lapses_at < now)
            .order_by(links.c.lapses_at)
            .limit(limit)
            # A claim that is being booked right now is skipped; the others need no order of locks,
            # because no lock is waited for.
            .with_for_update(skip_locked=True)
        )
        statement = update(links).where(links.c.slug.in_(over)).values(state=State.LAPSED)
        rows = await self._database.changed(statement.returning(links.c.meeting_sid))
        return Counter(sid for (sid,) in rows)

    async def forget(
        self,
        sid: str,
        customer_id: str,
        customer_name: str,
        marks: Marks,
        own_marks: OwnMarks = lambda _event: (),
    ) -> list[Link]:
        """Erase a customer of a meeting. Return their links as they were before.

        Their id, e-mail and metadata are erased, also in the bodies of events that settled these
        links. A claimed link lapses. Two things are kept: the name of their binding in Redis, and
        marks by which their events are recognised (`own_marks` returns those of an event).
        pool/durability/erasure.py does the remaining steps. A claim that is still on its way into
        the ledger is not known here, so record claims first.
        """
        return await forget(self._database, sid, customer_id, customer_name, marks, own_marks)

    # -- looked up --------------------------------------------------------------

    async def get(self, slug: str) -> Link | None:
        """Return the link of this slug, or None if it is not known."""
        return link_of(await self._database.rows(SELECT_LINKS.where(links.c.slug == slug)))

    async def any_url(self, sid: str) -> str | None:
        """Return the URL of one of the meeting's links, or None if it has none."""
        statement = select(links.c.url).where(links.c.meeting_sid == sid).limit(1)
        return next((url for (url,) in await self._database.rows(statement)), None)

    async def find(self, slugs: Sequence[str]) -> list[Link]:
        """Return the known links among these slugs, in no order."""
        if not slugs:
            return []
        return await self._list(SELECT_LINKS.where(self._database.among(links.c.slug, slugs)))

    async def claim_of(self, sid: str, customer_id: str) -> Link | None:
        """Return the customer's last claimed link of this meeting, if it is claimed or consumed."""
        return await self._last_of(sid, customer_id, _BINDABLE)

    async def booked_by(self, sid: str, customer_id: str) -> Link | None:
        """Return the last claimed of the customer's links of this meeting that are consumed."""
        return await self._last_of(sid, customer_id, (State.CONSUMED,))

    def live_bindings(self, sid: str, *, batch: int = 5_000) -> AsyncIterator[list[Binding]]:
        """Yield all bindings of a meeting, the oldest claim first, in lists of at most `batch`.

        Bindings are links with a customer that are claimed, consumed or cancelled. Each list
        is read on its own: a claim recorded meanwhile is included if it is the newest.
        """
        return live_bindings(self._database, sid, batch)

    async def forgotten(self, sid: str, *, after: str = "", limit: int = 500) -> list[Forgotten]:
        """Return the meeting's links whose customers were forgotten, by slug, behind `after`."""
        return await forgotten_of(self._database, sid, after, limit)

    async def given_to_email(
        self, sid: str, email: str, *, by: datetime, until: datetime
    ) -> list[Link]:
        """Return the meeting's links that were claimed with this e-mail at `by` or before.

        Their claims were not to lapse before `until`; their state now does not matter. The latest
        claim comes first, and at most a hundred are returned.
        """
        found = await self._list(
            SELECT_LINKS.where(
                links.c.email_key.in_(sorted(kept_forms(email))),
                links.c.meeting_sid == sid,
                links.c.claimed_at <= by,
                links.c.lapses_at >= until,
            )
            .order_by(links.c.claimed_at.desc(), links.c.slug)
            .limit(100)
        )
        wanted = same_email(email)
        return [link for link in found if link.email and same_email(link.email) == wanted]

    async def known_emails(self, emails: Collection[str]) -> set[str]:
        """Return the e-mails among these with which a link may have been claimed."""
        forms = {form for email in emails for form in kept_forms(email)}
        if not forms:
            return set()
        among = self._database.among(links.c.email_key, forms)
        rows = await self._database.rows(select(links.c.email_key).where(among).distinct())
        known = {key for (key,) in rows}
        return {email for email in emails if not known.isdisjoint(kept_forms(email))}

    async def fresh(self, sid: str, *, before: datetime, limit: int) -> list[Link]:
        """Return the meeting's fresh links that were made before `before`, the oldest first."""
        return await self._list(
            SELECT_LINKS.where(fresh_of(sid), links.c.created_at < before)
            .order_by(links.c.created_at)
            .limit(limit)
        )

    async def fresh_of(self, sids: Iterable[str]) -> dict[str, int]:
        """Return how many fresh links each of these meetings has, without those that have none.

        It reads only fresh links, which stay few, while the number of the others grows.
        """
        statement = (
            select(links.c.meeting_sid, func.count())
            .where(
                self._database.among(links.c.meeting_sid, sids),
                links.c.state == literal_state(State.FRESH),
            )
            .group_by(links.c.meeting_sid)
        )
        rows = await self._database.rows(statement)
        return {sid: int(number) for sid, number in rows}

    async def _last_of(self, sid: str, customer_id: str, states: Collection[State]) -> Link | None:
        # A customer has few links of a meeting. For a query of the latest in these states, SQLite
        # would walk all claims of the meeting by time.
        statement = SELECT_LINKS.where(
            links.c.meeting_sid == sid, links.c.customer_id == customer_id
        )
        held = [link for link in await self._list(statement) if link.state in states]
        return max(held, key=_claimed_last, default=None)

    async def _list(self, statement: Select[Any]) -> list[Link]:
        return links_of(await self._database.rows(statement))


def _claimed_last(link: Link) -> tuple[bool, datetime | None, str]:
    return (link.claimed_at is not None, link.claimed_at, link.slug)
