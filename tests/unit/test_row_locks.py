"""Test which rows the ledger locks on PostgreSQL, by the statements that it makes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Insert, Select, UpdateBase, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

from pool.ledger import Ledger
from pool.ledger.database import Database
from pool.ledger.recording import _bind_fresh
from pool.ledger.records import TokenSecret
from pool.model.links import Link, State
from pool.model.marks import Marks
from tests.aside import in_thread
from tests.integration.ledger_samples import claim, report

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LOCK = r"FROM (\w+)\s+WHERE (?!.*WHERE)(.*?FOR UPDATE(?: SKIP LOCKED)?)"


@contextmanager
def locks() -> Iterator[list[str]]:
    """Return the statements that lock rows, as PostgreSQL would read them, from WHERE on."""
    found: list[str] = []

    def executed(_connection: Any, statement: Any, *_: Any) -> None:
        if isinstance(statement, Select | UpdateBase) and not isinstance(statement, Insert):
            text = str(statement.compile(dialect=postgresql.dialect()))
            text = re.sub(r"%\((\w+?)(?:_\d+)?\)s(?:::\w+(?: WITH TIME ZONE)?)?", r":\1", text)
            for table, rows in re.findall(LOCK, text, re.DOTALL):
                found.append(f"{table}: {' '.join(rows.split())}")

    event.listen(Engine, "before_execute", executed)
    try:
        yield found
    finally:
        event.remove(Engine, "before_execute", executed)


@pytest.mark.parametrize(
    "lock",
    [
        # Those that are waited for: one row, or many in the order of their slugs.
        "links: links.meeting_sid = :meeting_sid AND links.state = 'fresh' "
        "ORDER BY links.slug FOR UPDATE",
        "links: links.slug = :slug FOR UPDATE",
        "bookings: bookings.workspace = :workspace AND bookings.sid = :sid FOR UPDATE",
        "links: links.meeting_sid = :meeting_sid AND links.customer_id = :customer_id "
        "ORDER BY links.slug FOR UPDATE",
        "api_keys: api_keys.id = :id FOR UPDATE",
        "inbox: inbox.state = :state AND length(inbox.body) > :length ORDER BY inbox.id FOR UPDATE",
        "inbox: inbox.slug = :slug AND inbox.booking_sid = :booking_sid "
        "ORDER BY inbox.id FOR UPDATE",
        "inbox: inbox.slug = :slug AND inbox.parent_sid = :parent_sid ORDER BY inbox.id FOR UPDATE",
        # Those that are not: the oldest first, and what another holds is passed over.
        "links: links.state = 'claimed' AND links.lapses_at < :lapses_at "
        "ORDER BY links.lapses_at LIMIT :param FOR UPDATE SKIP LOCKED",
        "inbox: inbox.state = :state AND (inbox.not_before IS NULL OR inbox.not_before <= "
        ":not_before) ORDER BY inbox.settled_at LIMIT :param FOR UPDATE SKIP LOCKED",
        "inbox: inbox.received_at < :received_at AND inbox.state != :state "
        "ORDER BY inbox.received_at LIMIT :param FOR UPDATE SKIP LOCKED",
        "inbox: length(body) > 0 AND inbox.state IN (__[POSTCOMPILE_state_1]) AND "
        "inbox.received_at < :received_at ORDER BY inbox.state, inbox.received_at, inbox.id "
        "LIMIT :param FOR UPDATE SKIP LOCKED",
    ],
)
def test_writers_take_turns_at_the_same_rows(lock: str, all_locks: set[str]) -> None:
    """Two that took them in different orders would wait for each other."""
    assert lock in all_locks


def test_no_other_rows_are_locked(all_locks: set[str]) -> None:
    """A lock that nobody thought about may meet these."""
    assert len(all_locks) == 12


@pytest.fixture(scope="module")
def all_locks(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the locks of one of each kind of writer."""

    path = tmp_path_factory.mktemp("locks") / "ledger.sqlite3"
    shutil.copy(migrated_sqlite, path)

    async def write() -> None:
        ledger = Ledger.open(f"sqlite:///{path}")
        await ledger.links.quarantine_fresh("intro", at=NOW)
        await ledger.links.insert_fresh([Link("a-1", "u", "intro", State.FRESH, "pool", "e", NOW)])
        await ledger.bookings.settle(report("a-1"))
        await ledger.links.lapse(NOW)
        await ledger.inbox.reopen_unmatched(NOW)
        await ledger.inbox.retry_dead()
        await ledger.erased.keep("a-1", Marks(b"key"), set())
        await ledger.retention.prune(events_before=NOW, bodies_before=NOW)
        await ledger.links.forget("intro", "ann", "name", Marks(b"key"))
        await ledger.token_secrets.add(TokenSecret("s-1", "k-1", NOW, None), at_most=2)
        await ledger.close()

    with locks() as found:
        in_thread(write())
    return set(found)


class Connection:
    """A connection to PostgreSQL that notes statements, and returns what a test wants."""

    def __init__(self, *results: list[Any]) -> None:
        self.results, self.said = list(results), list[str]()

    def execute(self, statement: Any) -> list[Any]:
        text = str(statement.compile(dialect=postgresql.dialect()))
        self.said.append(" ".join(text.split()))
        return self.results.pop(0)

    scalars = execute


def test_recorders_lock_links_in_the_order_of_their_slugs() -> None:
    """They then bind the fresh ones at the places where they were locked."""
    database = Database("postgresql://u@db.test/x")
    given = [claim(slug, who) for slug, who in zip("bacade", "123456", strict=True)]
    none: Any = Connection([])
    assert _bind_fresh(database, none, given) == {}
    rows = [
        ("a", "(0,1)", "fresh", True), ("b", "(0,2)", "fresh", True),
        ("c", "(0,3)", "claimed", True), ("d", "(0,4)", "fresh", False),
    ]  # fmt: skip
    some: Any = Connection(rows, ["a", "b"])
    assert _bind_fresh(database, some, given) == {"a": given[1], "b": given[0]}
    lock, bind = some.said
    assert none.said == [lock]
    assert lock.startswith("SELECT links.slug, CAST(links.ctid AS TEXT)")
    assert "FROM links WHERE links.slug = any(" in lock
    assert lock.endswith("ORDER BY links.slug FOR UPDATE")
    assert bind.startswith("UPDATE links SET state=")
    assert bind.endswith(
        "WHERE links.slug = given.slug AND given.place = links.ctid RETURNING links.slug"
    )
