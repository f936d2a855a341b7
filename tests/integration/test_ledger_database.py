"""Test the database itself: its address, its migrations, and how its failures are reported."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_samples import NOW, claim, fresh, report
from sqlalchemy import Connection, insert, inspect, text

from pool.errors import LedgerError, LedgerUnavailable, SettingsError
from pool.ledger import Ledger, migrations
from pool.ledger.database import Database
from pool.ledger.sqlite import Sqlite
from pool.ledger.tables import inbox, links, metadata
from pool.model.links import State
from pool.model.meetings import Meeting

if TYPE_CHECKING:  # the plugin is pytest's to import
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://root:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
        "sqlite://host/path",
        "postgresql+psycopg://u:hunter2@host/db",
        "postgresql://u:hunter2@host:port/db",
        "/var/ledger.sqlite3",
    ],
)
def test_an_address_of_another_form_is_refused(url: str) -> None:
    """The error names the setting and reveals nothing of its value."""
    with pytest.raises(SettingsError, match="LINKPOOL_DATABASE_URL") as caught:
        Ledger.open(url)
    assert "hunter2" not in str(caught.value)


async def test_both_names_of_postgresql_are_taken(postgres: PostgresServer) -> None:
    """postgres:// works as postgresql:// does, and so do libpq's parameters."""
    url = postgres.url("postgres").replace("postgresql:", "postgres:")
    ledger = Ledger.open(url + "&sslmode=prefer&channel_binding=prefer")
    assert await ledger.migration_state() == (None, migrations.HEAD)
    await ledger.close()


async def test_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    """After an upgrade there is no difference between the database and the tables declared."""
    ledger = Ledger.open(database_url)
    assert await ledger.migration_state() == (None, migrations.HEAD)
    await ledger.upgrade()
    assert await ledger.migration_state() == (migrations.HEAD, migrations.HEAD)
    await ledger.upgrade()
    await ledger.close()

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    database = Database(database_url)
    assert await database.write(differences) == []
    await database.close()


def test_head_is_the_newest_migration() -> None:
    """The revision the code expects is the last in the versions directory."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]


async def test_a_migration_leaves_the_version_before_it_working(database_url: str) -> None:
    """Each takes nothing away and asks for nothing new, so that older processes go on."""
    database = Database(database_url)
    before: dict[str, Any] = {}
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    for script in reversed(list(scripts.walk_revisions())):
        await database.migrate(partial(migrations._upgrade, revision=script.revision))
        after = await database.read(_shape)
        for table, (columns, unique) in before.items():
            kept, unique_now = after[table]
            assert {name: kept.get(name) for name in columns} == columns
            new = {name: facts for name, facts in kept.items() if name not in columns}
            assert all(optional for _, optional in new.values()), f"{script.revision}: {new}"
            assert unique_now == unique
        before = after
    assert (await migrations.current(database)) == migrations.HEAD
    await database.close()


def _shape(connection: Connection) -> dict[str, Any]:
    """Return each table's columns, as (type, may be left out), and what must be unique in it."""
    look = inspect(connection)
    shape = {}
    for table in look.get_table_names():
        columns = {
            column["name"]: (str(column["type"]), column["nullable"] or bool(column["default"]))
            for column in look.get_columns(table)
        }
        unique = [index["column_names"] for index in look.get_indexes(table) if index["unique"]]
        shape[table] = (
            columns,
            sorted([*unique, look.get_pk_constraint(table)["constrained_columns"]]),
        )
    return shape


async def test_many_may_upgrade_at_once(database_url: str) -> None:
    """All return without an error, and the tables are there."""
    ledgers = [Ledger.open(database_url) for _ in range(4)]
    await asyncio.gather(*(ledger.upgrade() for ledger in ledgers))
    assert await ledgers[0].counts.all() == {}
    for ledger in ledgers:
        await ledger.close()


async def test_tables_of_a_newer_version_are_left_alone(database_url: str) -> None:
    """An older linkpool refuses to work on them, and gives the reason."""
    ledger = Ledger.open(database_url)
    await ledger.upgrade()
    database = Database(database_url)
    await database.change(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="9999"):
        await ledger.upgrade()
    assert (await ledger.migration_state())[0] == "9999"
    await database.close()
    await ledger.close()


async def test_without_tables_the_ledger_says_what_to_do(database_url: str) -> None:
    """A forgotten upgrade is named in the error."""
    ledger = Ledger.open(database_url)
    with pytest.raises(LedgerUnavailable, match="db upgrade"):
        await ledger.links.get("a-1")
    await ledger.close()


async def test_a_locked_file_is_unavailable_in_bounded_time(tmp_path: Path) -> None:
    """Another writer holds up writes for 5 seconds, not reads; afterwards all is well."""
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger.open(f"sqlite:///{path}")
    await ledger.upgrade()
    await ledger.links.insert_fresh([fresh("a-1")])
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    start = time.monotonic()
    outcomes = await asyncio.gather(
        ledger.links.record([claim("a-1", "ada")]),
        ledger.facts.put("name", "value"),
        ledger.counts.all(),
        return_exceptions=True,
    )
    assert time.monotonic() - start < 30
    assert isinstance(outcomes[0], LedgerUnavailable)
    assert isinstance(outcomes[1], LedgerUnavailable)
    assert outcomes[2] == {"intro": {State.FRESH: 1}}

    locker.execute("ROLLBACK")
    locker.close()
    assert (await ledger.links.record([claim("a-1", "ada")])).written == 1
    await ledger.close()


async def test_an_event_loop_that_is_busy_keeps_no_other_process_out(tmp_path: Path) -> None:
    """Wherever a write yields to other tasks, the file is free again soon."""
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger.open(f"sqlite:///{path}")
    await ledger.upgrade()
    other = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    for turns in range(30):
        writing = asyncio.create_task(ledger.meetings.put(Meeting(f"m{turns}")))
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        other.execute("BEGIN IMMEDIATE")  # and the event loop stands still until then
        other.execute("ROLLBACK")
        assert await writing
    other.close()
    await ledger.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A damaged file or a missing directory is not taken for a bug in linkpool."""
    (tmp_path / "ledger.sqlite3").write_bytes(b"not a database at all" * 100)
    for path in (tmp_path / "ledger.sqlite3", tmp_path / "missing" / "ledger.sqlite3"):
        ledger = Ledger.open(f"sqlite:///{path}")
        with pytest.raises(LedgerUnavailable):
            await ledger.counts.all()
        await ledger.close()


async def test_nobody_at_the_address_is_unavailable(tmp_path: Path) -> None:
    """A server that is not there is reported at once."""
    ledger = Ledger.open(f"postgresql://u:hunter2@/x?host={tmp_path}")
    with pytest.raises(LedgerUnavailable) as caught:
        await ledger.ping()
    assert "hunter2" not in str(caught.value)
    await ledger.close()


async def test_a_silent_server_is_unavailable_in_bounded_time(tmp_path: Path) -> None:
    """A server that accepts and never answers is given up after the connect time-out."""
    held: list[asyncio.StreamWriter] = []
    path = str(tmp_path / ".s.PGSQL.5432")
    server = await asyncio.start_unix_server(lambda _, writer: held.append(writer), path)
    ledger = Ledger.open(f"postgresql://u@/x?host={tmp_path}")
    start = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        await ledger.ping()
    assert time.monotonic() - start < 30
    await ledger.close()
    for writer in held:
        writer.close()
    server.close()


async def test_the_ledger_heals_when_the_server_is_back(postgres: PostgresServer) -> None:
    """Calls fail while the server is down, and succeed again without opening the ledger anew."""
    ledger = Ledger.open(postgres.url("postgres"))
    await asyncio.gather(*(ledger.migration_state() for _ in range(5)))
    await asyncio.to_thread(postgres.stop)
    try:
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                await ledger.ping()
    finally:
        await asyncio.to_thread(postgres.start)
    for _ in range(5):
        await ledger.migration_state()
    await ledger.close()


async def test_a_cancelled_call_leaves_the_ledger_usable(ledger: Ledger) -> None:
    """Cancelled in the middle, a call gives its connection back and its locks free."""
    await ledger.links.insert_fresh([fresh(f"a-{n}") for n in range(500)])
    for step in range(20):
        call = asyncio.create_task(ledger.links.adopt_fresh("intro", f"e{step}"))
        await asyncio.sleep(step * 0.0005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert await ledger.links.adopt_fresh("intro", "last") == 500
    links = await ledger.links.find([f"a-{n}" for n in range(500)])
    assert [link.epoch for link in links] == ["last"] * 500


async def test_lookups_use_their_indexes(tmp_path: Path) -> None:
    """SQLite finds a customer, an e-mail and fresh or lapsing links without walking the table."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3")
    await ledger.upgrade()
    plans: list[str] = []
    database = ledger._database
    plain = sqlite3.connect(tmp_path / "ledger.sqlite3", check_same_thread=False)

    def explain(_conn: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        if "links" in statement and not statement.startswith(("BEGIN", "PRAGMA")):
            rows = plain.execute(f"EXPLAIN QUERY PLAN {statement}", tuple(values)).fetchall()
            plans.append(" | ".join(row[3] for row in rows))

    from sqlalchemy import event

    kind = database._kind
    assert isinstance(kind, Sqlite)
    for threads in (kind._reader, kind._writer):
        event.listen(threads._engine, "before_cursor_execute", explain)
    await ledger.links.claim_of("intro", "ada")
    await ledger.links.given_to_email("intro", "ada@example.com", by=NOW, until=NOW)
    await ledger.links.fresh("intro", before=NOW, limit=10)
    await ledger.links.lapse(NOW)
    await ledger.links.find(["a-1", "a-2"])
    _ = [page async for page in ledger.links.live_bindings("intro")]
    plain.close()
    await ledger.close()
    used = [
        "meeting_sid_customer_id (",
        "ix_links_email_key (",
        "ix_links_meeting_sid_created_at (",
        "ix_links_lapses_at (",
        "(slug=?)",
        "meeting_sid_claimed_at_slug (",
    ]
    for plan, index in zip(plans, used, strict=True):
        assert index in plan, plan
        assert "TEMP B-TREE FOR ORDER BY" not in plan or "email" in plan, plan


async def test_what_was_known_of_bookings_is_carried_over(database_url: str) -> None:
    """Each booked link gets its booking.

    Events of links with several bookings are settled again, and any later report of the provider
    counts for more.
    """
    database = Database(database_url)
    await database.migrate(partial(migrations._upgrade, revision="0004"))

    def fill(connection: Connection) -> None:
        for slug, state, booking_sid in (
            ("a-1", "consumed", "b-1"),
            ("a-2", "cancelled", "b-2"),
            ("a-3", "consumed", None),
            ("a-4", "cancelled", "b-1"),
            ("a-5", "claimed", None),
        ):
            connection.execute(
                insert(links).values(
                    slug=slug, url="u", meeting_sid="intro", state=state, source="pool", epoch="e",
                    booking_sid=booking_sid, created_at=NOW, consumed_at=NOW,
                    cancelled_at=NOW + timedelta(hours=1) if state == "cancelled" else None,
                )
            )  # fmt: skip
        for event_id, slug, booking_sid in (
            ("e1", "a-1", "b-1"),
            ("e2", "a-2", "b-2"),
            ("e3", "a-2", "b-3"),
        ):
            connection.execute(
                insert(inbox).values(
                    id=event_id, workspace="default", source="webhook", event="booking_created",
                    booking_sid=booking_sid, body=b"{}", received_at=NOW, state="settled",
                    reason="", slug=slug, match="slug", attempts=0, seen=1,
                )
            )  # fmt: skip

    await database.write(fill)
    await database.close()
    ledger = Ledger.open(database_url)
    await ledger.upgrade()
    found = {
        slug: [(each.sid, each.state) for each in await ledger.bookings.of_link(slug)]
        for slug in ("a-1", "a-2", "a-3", "a-4", "a-5")
    }
    assert found == {
        "a-1": [("b-1", "confirmed")],
        "a-2": [("b-2", "cancelled")],
        "a-3": [("unnamed:a-3", "confirmed")],
        "a-4": [("unnamed:a-4", "cancelled")],
        "a-5": [],
    }
    assert {event.id for event in await ledger.inbox.list("pending")} == {"e2", "e3"}
    # A booking stood all the time that had been taken for cancelled, since its sibling was.
    settled = await ledger.bookings.settle(
        report("a-2", sid="b-2", made_at=NOW - timedelta(days=9))
    )
    assert settled.link.state is State.CONSUMED
    settled = await ledger.bookings.settle(report("a-1", "cancelled", sid="b-1"))
    assert settled.link.state is State.CANCELLED
    await ledger.close()


async def test_a_process_opens_no_more_connections_than_it_may(postgres: PostgresServer) -> None:
    """When many read at once, the others wait for a free connection."""
    ledger = Ledger.open(postgres.url("postgres"), connections=3)
    most = 0

    async def read() -> None:
        nonlocal most

        def count(connection: Connection) -> int:
            connection.execute(text("SELECT pg_sleep(0.05)"))
            asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            return int(connection.execute(text(asked)).scalar_one())

        most = max(most, await ledger._database.read(count))

    before = await ledger._database.read(
        lambda connection: int(
            connection.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            ).scalar_one()
        )
    )
    await asyncio.gather(*(read() for _ in range(12)))
    assert most - before < 3  # one of them was counted before
    assert (await ledger.connections_most() or 0) > 3
    await ledger.close()
