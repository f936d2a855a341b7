"""Bring the ledger's tables up to date. Alembic is imported only if there is work for it."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table, text

from pool.errors import LedgerError
from pool.ledger.database import Database
from pool.ledger.migrations.newest import make_newest

HEAD = "0018"  # the newest file in versions/

_version = table("alembic_version", column("version_num"))
_LOCK = 0x6C696E6B706F6F6C  # "linkpool", as a 64-bit number


async def current(database: Database) -> str | None:
    """Return the database's revision, or None if it has no tables yet."""
    if database.sqlite_path is not None and not database.sqlite_path.exists():
        return None
    return await database.read(_current)


async def upgrade(database: Database) -> None:
    """Bring the tables to HEAD, as Ledger.upgrade() says."""
    if await current(database) == HEAD:
        return
    if database.sqlite_path is not None:
        with suppress(OSError):  # opening the file says then what is wrong
            database.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
        await database.migrate(make_newest)
        if await current(database) == HEAD:
            return
    # The import takes a second, during which no process should wait for the transaction.
    importlib.import_module("alembic.command")

    def work(connection: Connection) -> None:
        # A second process waits here, and then finds nothing left to do. On SQLite the
        # transaction itself excludes other writers.
        if database.sqlite_path is None:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        _upgrade(connection)

    await database.migrate(work)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(select(_version.c.version_num))


def _upgrade(connection: Connection, revision: str = "head") -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    here = str(Path(__file__).parent)
    config.set_main_option("script_location", here.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise LedgerError(
            f"the ledger's tables are at revision {_current(connection)}, which this linkpool "
            f"(revision {HEAD}) does not know; run the version that made them, or a newer one"
        ) from error
