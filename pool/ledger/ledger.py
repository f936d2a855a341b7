"""Compose the ledger of its parts, one for each kind of thing it keeps."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, func, select, update

from pool.ledger import migrations
from pool.ledger.api_keys import Keys
from pool.ledger.audit import Audit
from pool.ledger.bookings import Bookings
from pool.ledger.database import CONNECTIONS, Database
from pool.ledger.ended_sessions import EndedSessions
from pool.ledger.erased import Erased
from pool.ledger.facts import Facts, put_fact
from pool.ledger.hours import Hours
from pool.ledger.inbox import Inbox
from pool.ledger.inbox_search import InboxSearch
from pool.ledger.incidents import Incidents
from pool.ledger.link_counts import LinkCounts
from pool.ledger.links import Links
from pool.ledger.meetings import Meetings
from pool.ledger.pruned import Pruned
from pool.ledger.pruning import Pruning
from pool.ledger.public_keys import PublicKeys
from pool.ledger.retention import Retention
from pool.ledger.search import Search
from pool.ledger.tables import links
from pool.ledger.token_secrets import TokenSecrets


class Ledger:
    """The SQL database.

    Every coroutine here and below raises LedgerUnavailable when the database cannot be
    reached, is locked by another writer, or does not answer within 20 seconds, or in the time
    that `deadline.within` leaves. The ledger works again by itself once the database does. It
    belongs to one event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.meetings = Meetings(database)
        self.links = Links(database)
        self.counts = LinkCounts(database)
        self.bookings = Bookings(database)
        self.inbox = Inbox(database)
        self.keys = Keys(database)
        self.token_secrets = TokenSecrets(database)
        self.public_keys = PublicKeys(database)
        self.ended_sessions = EndedSessions(database)
        self.audit = Audit(database)
        self.facts = Facts(database)
        self.incidents = Incidents(database)
        self.hours = Hours(database)
        self.search = Search(database)
        self.inbox_search = InboxSearch(database)
        self.erased = Erased(database)
        self.retention = Retention(database)
        self.pruning = Pruning(database)
        self.pruned = Pruned(database)

    @classmethod
    def open(cls, database_url: str, connections: int = CONNECTIONS) -> Ledger:
        """Return the ledger at `database_url`, which connects when first used.

        On PostgreSQL it opens at most this number of connections at once. Raise SettingsError
        unless the URL is sqlite:///path, postgresql://… or postgres://….
        """
        return cls(Database(database_url, connections))

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()

    async def connections_most(self) -> int | None:
        """Return how many connections the server accepts in all; None for SQLite.

        Behind a pooler this is still the server's number, of which the pooler uses a part.
        """
        if self._database.sqlite_path is not None:
            return None
        [(setting,)] = await self._database.rows(select(func.current_setting("max_connections")))
        return int(setting)

    async def ping(self) -> None:
        """Return if the database can be written to. This writes, to find out.

        A database that can only read (a replica, a full disk, a lock that another writer holds)
        answers every query, but could not keep a new link. The second statement changes nothing,
        and finds out whether links may be written.
        """
        written = put_fact(self._database, "ping", secrets.token_hex(8))

        def work(connection: Connection) -> None:
            connection.execute(written)
            connection.execute(update(links).where(links.c.slug == "").values(epoch=links.c.epoch))

        await self._database.write(work)

    async def upgrade(self) -> None:
        """Bring the tables up to date, creating them if they are missing.

        Any number of processes may do this at once. Raise LedgerError if a newer linkpool made
        the tables.
        """
        await migrations.upgrade(self._database)

    async def compact(self) -> bool:
        """Rewrite SQLite's file, so that nothing is left in its free space.

        All other users of the file wait. Return False on PostgreSQL, where VACUUM does this.
        """
        return await self._database.compact()

    async def migration_state(self) -> tuple[str | None, str]:
        """Return the database's revision (None if it has no tables yet) and the newest one."""
        return await migrations.current(self._database), migrations.HEAD
