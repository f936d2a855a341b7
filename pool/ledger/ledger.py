"""The ledger as one object: what is kept, and by whom."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, update

from pool.ledger import migrations
from pool.ledger.api_keys import Keys
from pool.ledger.audit import Audit
from pool.ledger.bookings import Bookings
from pool.ledger.database import Database
from pool.ledger.ended_sessions import EndedSessions
from pool.ledger.erased import Erased
from pool.ledger.facts import Facts
from pool.ledger.inbox import Inbox
from pool.ledger.links import Links
from pool.ledger.meetings import Meetings
from pool.ledger.retention import Retention
from pool.ledger.search import Search
from pool.ledger.tables import facts, links


class Ledger:
    """The SQL database.

    Every coroutine here and below raises LedgerUnavailable when the database cannot be
    reached, is locked by another writer, or does not answer within 20 seconds; it works
    again by itself once the database does. Belongs to one event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.meetings = Meetings(database)
        self.links = Links(database)
        self.bookings = Bookings(database)
        self.inbox = Inbox(database)
        self.keys = Keys(database)
        self.ended_sessions = EndedSessions(database)
        self.audit = Audit(database)
        self.facts = Facts(database)
        self.search = Search(database)
        self.erased = Erased(database)
        self.retention = Retention(database)

    @classmethod
    def open(cls, database_url: str) -> Ledger:
        """The ledger at `database_url`; connects when first used.

        Takes sqlite:///path, postgresql://… and postgres://…; raises SettingsError for
        anything else.
        """
        return cls(Database(database_url))

    async def close(self) -> None:
        """Closes all connections."""
        await self._database.close()

    async def ping(self) -> None:
        """Return if the database can be written to, by writing.

        One that only reads (a replica, a full disk, a lock that another writer holds) answers
        every question, and would take no link that is made for it. The second statement
        changes nothing, and asks whether links may be written.
        """
        written = self._database.insert(facts).values(name="ping", value=secrets.token_hex(8))
        written = written.on_conflict_do_update(
            index_elements=[facts.c.name], set_={"value": written.excluded.value}
        )

        def work(connection: Connection) -> None:
            connection.execute(written)
            connection.execute(update(links).where(links.c.slug == "").values(epoch=links.c.epoch))

        await self._database.write(work)

    async def upgrade(self) -> None:
        """Brings the tables up to date, making them first if need be.

        Any number of processes may do this at once. Raises LedgerError if a newer linkpool
        made the tables.
        """
        await migrations.upgrade(self._database)

    async def compact(self) -> bool:
        """Write SQLite's file anew, so that nothing is left in its free space; all others wait.

        Return False on PostgreSQL, where that is VACUUM's work.
        """
        return await self._database.compact()

    async def migration_state(self) -> tuple[str | None, str]:
        """The revision the database is at (None: it has no tables yet) and the newest one."""
        return await migrations.current(self._database), migrations.HEAD
