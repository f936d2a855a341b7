"""Back up a ledger and put it back, whichever database it is in, while linkpool has it open."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.postgres import put_back, rows_of

Backup = bytes | dict[str, bytes]


async def backup_of(url: str) -> Backup:
    """Return a copy of all rows."""
    if not url.startswith("sqlite"):
        return await rows_of(url)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as now:
        return now.serialize()


async def restore(url: str, backup: Backup) -> None:
    """Make the ledger what it was then."""
    if isinstance(backup, dict):
        await put_back(url, backup)
        return
    with (
        closing(sqlite3.connect(":memory:")) as kept,
        closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as now,
    ):
        # Two bytes say that the file has a write-ahead log, which none in memory has.
        kept.deserialize(backup[:18] + b"\1\1" + backup[20:])
        kept.backup(now)
