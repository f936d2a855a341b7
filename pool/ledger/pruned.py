"""Know links and bookings whose rows were pruned, by a hash of 64 bits of each name.

A slug that the provider repeats must not enter a pool again, whatever the ledger has let go: the
row's primary key refuses it while there is a row, and its mark afterwards. Two of ten million names
share a mark once in four hundred thousand ledgers; then one new link is taken for a pruned one, and
not handed out. Marks need no key, since a slug or a booking's SID says nothing about a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, literal_column, select

from pool.ledger.columns import storable
from pool.ledger.database import Database
from pool.ledger.tables import links, pruned_marks


def mark_of_link(slug: str) -> int:
    """Return the mark of a link."""
    return _mark(f"link\0{slug}")


def mark_of_booking(workspace: str, name: str) -> int:
    """Return the mark of a booking, by its SID or by the provider's own id."""
    return _mark(f"booking\0{workspace}\0{name}")


def _mark(text: str) -> int:
    digest = hashlib.blake2b(storable(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


class Pruned:
    """The marks of links and bookings that were pruned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_any(
        self, workspace: str, *, slugs: Collection[str], bookings: Collection[str]
    ) -> bool:
        """Return True if one of these links, or of these bookings of the workspace, was pruned."""
        marks = {mark_of_link(slug) for slug in slugs}
        marks |= {mark_of_booking(workspace, name) for name in bookings}
        if not marks:
            return False
        among = self._database.among(pruned_marks.c.mark, sorted(marks))
        return bool(await self._database.rows(select(pruned_marks.c.mark).where(among).limit(1)))


def pruned_of(database: Database, connection: Connection, slugs: Iterable[str]) -> set[str]:
    """Return the slugs among these whose links were pruned."""
    by_mark = {mark_of_link(slug): slug for slug in slugs}
    if not by_mark:
        return set()
    among = database.among(pruned_marks.c.mark, sorted(by_mark))
    return {by_mark[mark] for mark in connection.scalars(select(pruned_marks.c.mark).where(among))}


def take_back_pruned(database: Database, connection: Connection, slugs: set[str]) -> set[str]:
    """Delete the rows, inserted in this transaction, whose slugs were pruned before.

    Return the others' slugs. The marks are looked at after the insert, which waits for a
    transaction that is pruning one of these very slugs.
    """
    pruned = pruned_of(database, connection, slugs)
    if pruned:
        connection.execute(delete(links).where(database.among(links.c.slug, sorted(pruned))))
    return slugs - pruned


def keep_marks(database: Database, connection: Connection, marks: Collection[int]) -> None:
    """Keep these marks, in the order in which all do, so that none deadlock."""
    if not marks:
        return
    given = select(*database.each(sorted(marks), pruned_marks.c.mark))
    if database.sqlite_path is not None:
        # Without a WHERE, SQLite takes the ON of ON CONFLICT for that of a join.
        given = given.where(literal_column("1") == 1)
    connection.execute(
        database.insert(pruned_marks).from_select(["mark"], given).on_conflict_do_nothing()
    )
