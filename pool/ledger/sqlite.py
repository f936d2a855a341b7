"""Run each transaction on SQLite as a whole, in a thread.

The file allows one writer at a time. A transaction whose statements were awaited one by one
would keep all other processes out while this one's event loop is busy with other work between
them; under a storm of claims that was seconds.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from pool.errors import LedgerUnavailable, SettingsError

T = TypeVar("T")
BUSY_SECONDS = 5  # the longest wait for another writer of the file
POOL_SECONDS = 5  # the longest wait for a connection
_READERS = 4


class Sqlite:
    """One SQLite file. Reads run in parallel, the writes of one process one after the other."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self._reader = _Threads(_engine(path, _READERS, options), _READERS)
        writer = _engine(path, 1, options)
        event.listen(writer, "begin", _begin_immediate)
        self._writer = _Threads(writer, 1)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, each of whose statements sees what is committed by then."""
        return await self._reader.run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as the file's only writer, to its end even if the caller is cancelled."""
        return await self._writer.run(work)

    migrate = write

    async def truncate_log(self) -> bool:
        """Move the write-ahead log into the file and empty it. Return False if it is in use."""
        # Run by a reader: a writer's connection is in a transaction, which allows no checkpoint.
        return await self._reader.run(_truncate_log)

    async def compact(self) -> None:
        """Rewrite the file without its free space. All other users of the file wait."""
        await self._reader.run(_compact)

    async def close(self) -> None:
        """Close the file once the running transactions have ended."""
        for threads in (self._reader, self._writer):
            await threads.close()


class _Threads:
    """An engine, and a thread for each of its connections."""

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="ledger")
        self._free = asyncio.Semaphore(count)

    async def run(self, work: Callable[[Connection], T]) -> T:
        try:
            async with asyncio.timeout(POOL_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise LedgerUnavailable("all connections to the ledger are busy") from None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._now, work)
        finally:
            self._free.release()

    def _now(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        self._engine.dispose()


def sqlite_path(database_url: str, setting: str) -> Path:
    """Return the file that a sqlite:/// address names. Raise SettingsError, naming the setting."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise SettingsError(setting, "is not a URL; write sqlite:///path") from None
    if url.host or not url.database or url.database.startswith((":", "file:")):
        raise SettingsError(setting, "must name a file: sqlite:///relative or sqlite:////absolute")
    if url.query:
        raise SettingsError(setting, "has options, and a SQLite file takes none")
    path = Path(url.database)
    if path.exists() and not path.is_file():
        kind = "a directory" if path.is_dir() else "none"
        raise SettingsError(setting, f"must name a file, and {path} is {kind}")
    return Path(url.database)


def _engine(path: Path, connections: int, options: dict[str, Any]) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        # We begin transactions ourselves (the library's recipe), since the driver does so too late.
        connect_args={
            "isolation_level": None,
            "timeout": BUSY_SECONDS,
            "check_same_thread": False,  # the pool hands a connection to one thread at a time
        },
        pool_size=connections,
        max_overflow=0,
        **options,
    )
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    try:
        # FULL, not NORMAL: with a write-ahead log NORMAL survives a crash of the process, but
        # may lose the last transactions when power fails, and by then what they held (a
        # webhook that was answered 2xx, claims trimmed from Redis) is nowhere else. FULL costs
        # one fsync per transaction, which batches make cheap.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Overwrite deleted content, so that erased data does not stay in the file's free space.
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA cache_size=-16384")
        _set_write_ahead_log(connection)
    except BaseException:
        connection.close()  # the pool does not know it yet
        raise


def _set_write_ahead_log(connection: sqlite3.Connection) -> None:
    # This change is permanent, and the only write that does not wait for others.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and then writes cannot wait for another writer: SQLite
    # would refuse it at once. So writers queue at their beginning.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _truncate_log(connection: Connection) -> bool:
    busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def _compact(connection: Connection) -> None:
    connection.exec_driver_sql("VACUUM")
