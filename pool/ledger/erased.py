"""Keep how far erasing has come for each erased customer, and marks of what they left elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    func,
    or_,
    select,
    union,
    update,
)

from pool.ledger.database import Database
from pool.ledger.forget import ERASING, UNHEARD, keep_marks, rename_booking
from pool.ledger.inbox import event_of, has_mark
from pool.ledger.records import InboxEvent
from pool.ledger.tables import (
    UNMARKED,
    erased_marks,
    forgotten,
    inbox,
    link_counts,
    links,
    meetings,
)
from pool.model.emails import kept_forms, same_email
from pool.model.marks import Marks

_SCAN = 5_000  # events that one statement scans, in tens of milliseconds
_PAGE = 200  # bodies held at a time


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A forgotten customer's link not erased everywhere yet, or of which nobody was informed."""

    slug: str
    meeting_sid: str
    customer_name: str
    stage: str


class Erased:
    """The customers who were forgotten, by their links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- progress --------------------------------------------------------------------

    async def unfinished(self, limit: int = 100) -> list[Unfinished]:
        """Return links that are not erased everywhere yet."""
        return await self._unfinished(forgotten.c.stage == ERASING, limit)

    async def of_customer(self, sid: str, customer_name: str) -> list[Unfinished]:
        """Return a customer's links not erased everywhere, or of which nobody was informed."""
        theirs = (forgotten.c.meeting_sid == sid) & (forgotten.c.customer_name == customer_name)
        return await self._unfinished(theirs & forgotten.c.stage.is_not(None), 1_000)

    async def finish(self, slugs: Collection[str], *, heard: bool) -> None:
        """Note that these links are erased everywhere, and whether a caller was informed."""
        stage = None if heard else UNHEARD
        chosen = self._database.among(forgotten.c.slug, slugs)
        staged = forgotten.c.stage.is_not(None)
        await self._database.change(update(forgotten).where(chosen, staged).values(stage=stage))

    async def last_at(self) -> datetime | None:
        """Return when a customer was last forgotten, or None if none ever was."""
        [(at,)] = await self._database.rows(select(func.max(forgotten.c.forgotten_at)))
        return at if isinstance(at, datetime) else None

    async def clean_file(self) -> bool:
        """Remove erased bytes from SQLite's write-ahead log. Return False if it is in use now."""
        return await self._database.truncate_log()

    # -- marks -------------------------------------------------------------------------

    async def among(self, marks: Collection[str]) -> dict[str, set[str]]:
        """Return the marks among these that belong to erased customers, with their links."""
        found: dict[str, set[str]] = {}
        if marks:
            chosen = self._database.among(erased_marks.c.mark, marks)
            statement = select(erased_marks.c.mark, erased_marks.c.slug).where(chosen)
            for mark, slug in await self._database.rows(statement):
                found.setdefault(mark, set()).add(slug)
        return found

    async def slugs_among(self, slugs: Collection[str]) -> set[str]:
        """Return the links among these whose customers were forgotten."""
        if not slugs:
            return set()
        chosen = self._database.among(forgotten.c.slug, slugs)
        return {
            slug for (slug,) in await self._database.rows(select(forgotten.c.slug).where(chosen))
        }

    async def keep(self, slug: str, marks: Marks, kept: set[str]) -> bool:
        """Keep marks as those of a forgotten link. Return True if any is new.

        In that case there may be more to erase, and the link is unfinished again. Also replace
        the SID of its booking by a pseudonym, if it was written since.
        """

        # Every writer of a link's bookings locks the link first, so that none deadlock.
        lock = select(links.c.slug).where(links.c.slug == slug).with_for_update()

        def work(connection: Connection) -> bool:
            connection.execute(lock)
            rename_booking(self._database, connection, slug, marks)
            if not keep_marks(self._database, connection, slug, kept):
                return False
            row = update(forgotten).where(forgotten.c.slug == slug)
            connection.execute(row.values(stage=ERASING))
            return True

        return await self._database.write(work)

    async def held(self, texts: Collection[str]) -> set[str]:
        """Return the ids and addresses among these with which a customer holds a link."""
        if not texts:
            return set()
        forms = {form for text in texts for form in kept_forms(text)}
        emails = select(links.c.email).where(self._database.among(links.c.email_key, forms))
        # A key that an earlier release wrote may be that of another mailbox.
        addresses = {same_email(email) for (email,) in await self._database.rows(emails)}
        held = {text for text in texts if same_email(text) in addresses}
        # The index begins with the meeting: without meetings it would be read as a whole.
        everywhere = union(select(meetings.c.sid), select(link_counts.c.meeting_sid))
        ids = select(links.c.customer_id).where(
            self._database.among(links.c.customer_id, texts), links.c.meeting_sid.in_(everywhere)
        )
        return held | {text for (text,) in await self._database.rows(ids)}

    # -- events ------------------------------------------------------------------------

    async def tied(self, slug: str) -> AsyncIterator[list[InboxEvent]]:
        """Yield the events that may concern this link's customer, in lists of at most 200."""
        rows = await self._database.rows(
            select(erased_marks.c.mark).where(erased_marks.c.slug == slug)
        )
        tied = or_(inbox.c.slug == slug, *(has_mark(self._database, mark) for (mark,) in rows))
        after = ""
        while True:
            ends = select(inbox.c.id).where(inbox.c.id > after).order_by(inbox.c.id)
            end = await self._database.rows(ends.offset(_SCAN - 1).limit(1))
            here = inbox.c.id > after
            if end:
                here &= inbox.c.id <= end[0].id
            found = await self._database.rows(
                select(inbox.c.id).where(here, func.length(inbox.c.marks) > 0, tied)
            )
            for start in range(0, len(found), _PAGE):
                ids = [event_id for (event_id,) in found[start : start + _PAGE]]
                events = select(inbox).where(self._database.among(inbox.c.id, ids))
                yield [event_of(row) for row in await self._database.rows(events)]
            if not end:
                return
            after = end[0].id

    async def redact(
        self, event_id: str, body: bytes, booking_sid: str | None, parent_sid: str | None
    ) -> None:
        """Replace an event's body by this one, which holds nothing personal."""
        await self._database.change(
            update(inbox)
            .where(inbox.c.id == event_id)
            .values(
                body=body,
                marks=b"",
                booking_sid=booking_sid,
                parent_sid=parent_sid,
                last_error=None,
            )
        )

    async def unmarked(self, limit: int = _PAGE) -> list[InboxEvent]:
        """Return events that have no marks yet."""
        rows = await self._database.rows(select(inbox).where(UNMARKED).limit(limit))
        return [event_of(row) for row in rows]

    async def mark(self, marks: Mapping[str, bytes]) -> None:
        """Write events' marks, where they have none yet."""

        def work(connection: Connection) -> None:
            for event_id, packed in sorted(marks.items()):
                connection.execute(
                    update(inbox).where(inbox.c.id == event_id, UNMARKED).values(marks=packed)
                )

        await self._database.write(work)

    async def _unfinished(self, condition: ColumnElement[bool], limit: int) -> list[Unfinished]:
        columns: Sequence[Any] = (
            forgotten.c.slug,
            forgotten.c.meeting_sid,
            forgotten.c.customer_name,
            forgotten.c.stage,
        )
        statement = select(*columns).where(condition).order_by(forgotten.c.slug).limit(limit)
        return [Unfinished(*row) for row in await self._database.rows(statement)]
