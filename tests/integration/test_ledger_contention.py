"""Test several connections that change the same rows of PostgreSQL at once, and one that is cut.

A second, bare connection holds the locks that another process would hold at the worst moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from ledger_samples import MARKS, NOW, claim, fresh, known, report

from pool.errors import LedgerUnavailable
from pool.ledger import Ledger, postgresql
from pool.ledger.records import ApiKey, EventState, NewEvent
from pool.model.links import State

pytest_plugins = ("ledger_fixtures",)

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

ADA = "customer-ada-1815"  # long enough to be looked for in what people wrote
WAITING = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
async def rival(database_url: str, ledger: Ledger) -> AsyncIterator[Any]:
    """Return a connection that stands for another process."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def waiting(rival: Any, work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Task[Any], int]:
    """Start work that must wait for the rival. Return it with the number of its connection."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(30):
        while (pid := await rival.fetchval(WAITING)) is None:
            assert not task.done(), "it waits for nobody"
            await asyncio.sleep(0.01)
    return task, pid


async def test_erasing_never_deadlocks_with_settling(ledger: Ledger, rival: Any) -> None:
    """Both lock the link before they write its bookings."""
    await ledger.links.insert_fresh([fresh("a-1")])
    await ledger.links.record([claim("a-1", "ada")])
    await ledger.links.forget("intro", "ada", "name-of-ada", MARKS)
    for sid in ("b-1", "b-2"):  # reports that were under way while she was forgotten
        await rival.execute(
            "INSERT INTO bookings (workspace, sid, slug, state, heard_at, stood) "
            "VALUES ('default', $1, 'a-1', 'confirmed', now(), true)",
            sid,
        )
    await rival.execute("UPDATE links SET booking_sid = 'b-2'")
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("SELECT 1 FROM links WHERE slug = 'a-1' FOR UPDATE")  # as settling does
    erasing, _ = await waiting(rival, ledger.erased.keep("a-1", MARKS, set()))
    await rival.execute("SELECT 1 FROM bookings FOR UPDATE NOWAIT")
    await transaction.commit()
    await erasing
    sids = await rival.fetch("SELECT sid FROM bookings UNION SELECT booking_sid FROM links")
    assert len(sids) == 2
    assert not {"b-1", "b-2"} & {row[0] for row in sids}


async def test_rows_are_locked_in_one_order_wherever_they_stand(ledger: Ledger, rival: Any) -> None:
    """Two transactions that took the same rows in different orders would deadlock."""
    for number in (2, 1):  # in the table, the later one stands first
        await ledger.keys.add(ApiKey(f"k{number}", f"d{number}", frozenset(), None, "", NOW))
        event = NewEvent(f"e-{number}", "default", "webhook", "x", b"{}", NOW, "bk")
        await ledger.inbox.add(event)
        await ledger.inbox.finish(event.id, EventState.UNMATCHED)
        await ledger.audit.add("ops", "pause", None, f"{ADA} called")
    later = await rival.fetchval("SELECT max(id) FROM audit")
    await rival.execute("UPDATE audit SET reason = reason || '!' WHERE id < $1", later)
    await ledger.links.insert_fresh([fresh("a-1")])
    await ledger.links.record([claim("a-1", ADA)])

    for table, column, first, work in (
        ("api_keys", "id", "k1", ledger.keys.note_use(["k2", "k1"], NOW)),
        ("inbox", "id", "e-1", ledger.inbox.reopen_booking("default", ["bk"])),
        ("audit", "id", later - 1, ledger.links.forget("intro", ADA, "name", MARKS)),
    ):
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute(f"SELECT 1 FROM {table} WHERE {column} = $1 FOR UPDATE", first)
        task, _ = await waiting(rival, work)
        # NOWAIT fails if a row that comes later in the order is locked already.
        others = f"SELECT 1 FROM {table} WHERE {column} <> $1 FOR UPDATE NOWAIT"
        assert len(await rival.fetch(others, first)) == 1, table
        await transaction.commit()
        await task


async def test_a_connection_that_is_cut_in_a_transaction_leaves_nothing_half_done(
    ledger: Ledger, rival: Any
) -> None:
    """The batch is recorded as a whole when it is repeated, and counted once."""
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    claims = [claim("a-0", "eve"), claim("a-1", "ann"), claim("a-2", "ben")]
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("SELECT 1 FROM links WHERE slug = 'a-2' FOR UPDATE")
    recording, pid = await waiting(rival, ledger.links.record(claims))
    await rival.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(LedgerUnavailable):
        await recording
    await transaction.commit()
    assert await ledger.counts.of("intro") == {State.FRESH: 2}
    assert (await ledger.links.record(claims)).written == 3
    assert (await ledger.links.record(claims)).written == 0
    assert await ledger.counts.of("intro") == {State.CLAIMED: 3}
    assert await ledger.counts.wrong() == []


async def test_a_statement_that_waits_too_long_is_ended_by_the_server(
    ledger: Ledger, database_url: str, rival: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets LedgerUnavailable, and the connection can be used again."""
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", 1)
    await ledger.links.insert_fresh([fresh("a-1")])
    hasty = Ledger.open(database_url, connections=1)
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("SELECT 1 FROM links WHERE slug = 'a-1' FOR UPDATE")
    with pytest.raises(LedgerUnavailable, match="in time"):
        await hasty.links.record([claim("a-1", "ann")])
    await transaction.commit()
    assert (await hasty.links.record([claim("a-1", "ann")])).written == 1
    await hasty.close()


async def test_recording_settling_erasing_lapsing_and_pruning_at_once_lose_nothing(
    ledger: Ledger, other: Ledger
) -> None:
    """Two processes do all of it to the same links, and each link ends in a permitted state."""
    slugs = [f"a-{number:02}" for number in range(40)]
    await ledger.links.insert_fresh([fresh(slug) for slug in slugs])
    claims = [claim(slug, f"c-{slug}", lapses_at=NOW) for slug in slugs]
    later = NOW + timedelta(days=400)

    async def prune(by: Ledger) -> int:
        gone = 0
        for walk in await by.pruning.walks():
            found = await by.pruning.look(walk, later, None)
            gone += (await by.pruning.prune([each.slug for each in found], later)).links
        return gone

    async def work(by: Ledger, order: int) -> int:
        mine = slugs[::order]
        await by.links.record(claims[::order])
        for slug in mine[::3]:
            await by.bookings.settle(report(slug, sid=f"b-{slug}"))
        for slug in mine[1::3]:
            await by.links.forget("intro", f"c-{slug}", f"name-{slug}", MARKS)
            await by.erased.keep(slug, MARKS, {"00"})
            await by.erased.finish([slug], heard=True)
        await by.links.lapse(NOW + timedelta(days=1), limit=20)
        await by.counts.fold()
        return await prune(by)

    await asyncio.gather(work(ledger, 1), work(other, -1), work(ledger, -1), work(other, 1))
    while await ledger.links.lapse(NOW + timedelta(days=1)):
        pass
    await prune(ledger)

    counts = await ledger.counts.of("intro")
    assert sum(counts.values()) == len(slugs)
    assert set(counts) <= {State.CONSUMED, State.LAPSED}
    assert await ledger.counts.wrong() == []
    for slug in slugs:
        link = await ledger.links.get(slug)
        assert link is None or link.state in (State.CONSUMED, State.LAPSED)
    await ledger.counts.fold()
    assert await ledger.counts.of("intro") == counts


async def test_a_link_claimed_while_it_is_erased_has_one_outcome(
    ledger: Ledger, rival: Any
) -> None:
    """The erasure waits for the recorder that has the row, and finds the customer then."""
    await ledger.links.insert_fresh([fresh("a-1")])
    await ledger.links.record([claim("a-1", "ada")])
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("UPDATE links SET email = 'ada@example.com' WHERE slug = 'a-1'")
    erasing, _ = await waiting(rival, ledger.links.forget("intro", "ada", "name", MARKS))
    await transaction.commit()
    [before] = await erasing
    assert before.email == "ada@example.com"
    link = await known(ledger, "a-1")
    assert (link.customer_id, link.email, link.state) == (None, None, State.LAPSED)
