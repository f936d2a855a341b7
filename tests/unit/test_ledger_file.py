"""Test the ledger's file: how it is opened, waited for, emptied and tried."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pool.errors import LedgerUnavailable
from pool.ledger import Ledger
from pool.ledger import sqlite as files
from pool.ledger.sqlite import Sqlite
from pool.ledger.tables import meetings
from tests.integration.ledger_samples import fresh

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize("by", ["read", "write"])
async def test_every_connection_is_set_up_to_lose_nothing_and_leave_nothing(
    sqlite_ledger: Ledger, by: str
) -> None:
    """It syncs to disk, overwrites deleted content, and waits for a lock."""
    wanted = {
        "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2,
        "cache_size": -16384, "journal_mode": "wal", "busy_timeout": 5_000,
    }  # fmt: skip

    def look(connection: Any) -> dict[str, Any]:
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}

    assert await getattr(sqlite_ledger._database, by)(look) == wanted


async def test_only_writers_take_the_file_from_the_start(sqlite_ledger: Ledger) -> None:
    """Readers see each statement's moment, in no transaction."""
    within = {
        by: await getattr(sqlite_ledger._database, by)(
            lambda connection: connection.connection.driver_connection.in_transaction
        )
        for by in ("read", "write")
    }
    assert within == {"read": False, "write": True}


class Busy:
    """A connection whose file others are busy with for some time."""

    def __init__(self, times: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.times, self.code, self.asked = times, code, list[str]()

    def execute(self, statement: str) -> None:
        self.asked.append(statement)
        if len(self.asked) <= self.times:
            error = sqlite3.OperationalError("busy")
            error.sqlite_errorcode = self.code
            raise error


def test_a_file_that_is_busy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is retried for five seconds, and any other error is raised at once."""
    clock = [100.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(files.time, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
    soon = Busy(3)
    files._set_write_ahead_log(soon)  # type: ignore[arg-type]
    assert soon.asked == ["PRAGMA journal_mode=WAL"] * 4
    assert clock[0] == pytest.approx(100.06)
    other = Busy(1, sqlite3.SQLITE_CANTOPEN)
    with pytest.raises(sqlite3.OperationalError):
        files._set_write_ahead_log(other)  # type: ignore[arg-type]
    assert len(other.asked) == 1
    clock[0] = 200.0
    with pytest.raises(sqlite3.OperationalError):
        files._set_write_ahead_log(Busy(10_000))  # type: ignore[arg-type]
    assert 205.0 < clock[0] < 205.05


async def test_readers_wait_for_one_another_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four read at once and one writes; the next one gets an error that all are busy."""
    monkeypatch.setattr(files, "POOL_SECONDS", 0.01)
    made = Sqlite(tmp_path / "ledger.sqlite3")
    for threads, most in ((made._reader, 4), (made._writer, 1)):
        for _ in range(most):
            assert not threads._free.locked()
            await threads._free.acquire()
        with pytest.raises(LedgerUnavailable, match="busy"):
            await threads.run(lambda _: None)
        threads._free.release()
        assert await threads.run(lambda _: 7) == 7
        assert not threads._free.locked()
        assert threads._pool._max_workers == most  # type: ignore[attr-defined]
    await made.close()


def size(path: Path) -> int:
    return path.stat().st_size


async def test_the_log_is_emptied_unless_somebody_reads_it(sqlite_url: str) -> None:
    """The file is rewritten without its deleted content, too."""
    ledger = Ledger.open(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    log = path.with_name(path.name + "-wal")
    await ledger.links.insert_fresh([fresh(f"a-{n}", url="u" * 500) for n in range(300)])
    assert size(log) > 0
    assert await ledger.erased.clean_file() is True
    assert size(log) == 0
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM links").fetchall()
    await ledger.links.insert_fresh([fresh("b-1")])
    file = ledger._database._kind
    assert isinstance(file, Sqlite)

    def impatient(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")

    for _ in range(8):
        await file.read(impatient)
    assert await ledger.erased.clean_file() is False
    reader.close()
    await ledger._database.write(lambda c: c.exec_driver_sql("DELETE FROM links") and None)
    before = size(path)
    assert await ledger.compact() is True
    assert size(path) < before
    assert size(log) == 0
    await ledger.close()


async def test_whether_the_ledger_works_is_found_out_by_writing(sqlite_ledger: Ledger) -> None:
    """A new value each time; a table of links that cannot be written is found out, too."""
    seen = []
    for _ in range(2):
        await sqlite_ledger.ping()
        seen.append(await sqlite_ledger.facts.get("ping"))
    assert seen[0] != seen[1]
    assert [len(each or "") for each in seen] == [16, 16]
    await sqlite_ledger.links.insert_fresh([fresh("a-1")])
    await sqlite_ledger.ping()
    assert await sqlite_ledger.links.get("a-1") == fresh("a-1")
    assert await sqlite_ledger.connections_most() is None
    await sqlite_ledger._database.write(
        lambda connection: connection.exec_driver_sql("ALTER TABLE links RENAME TO gone") and None
    )
    with pytest.raises(LedgerUnavailable, match="db upgrade"):
        await sqlite_ledger.ping()


async def test_seals_are_forgotten_and_counted(sqlite_ledger: Ledger) -> None:
    """All meetings with a seal lose it."""
    from pool.model.meetings import Meeting

    for sid in ("a", "b", "c"):
        await sqlite_ledger.meetings.put(Meeting(sid))
    for sid in ("a", "b"):
        await sqlite_ledger.meetings.seal(sid, f"token-{sid}")
    assert await sqlite_ledger.meetings.forget_seals() == 2
    assert await sqlite_ledger.meetings.forget_seals() == 0
    rows = await sqlite_ledger._database.rows(select(meetings.c.seal_token))
    assert [token for (token,) in rows] == [None] * 3
