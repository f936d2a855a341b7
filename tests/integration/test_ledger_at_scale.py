"""Test that no statement would read a whole table of ten million links."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest
from ledger_samples import MARKS, NOW, claim, fresh, report

from bench.measures.ledger import kinds_of_work
from bench.plans import Statements, nodes_of, noted, plans_of, whole_reads
from pool.ledger import Ledger
from pool.ledger.inbox_search import Sought
from pool.ledger.records import EventState, NewEvent
from pool.model.links import State
from pool.model.meetings import Meeting

pytest_plugins = ("ledger_fixtures",)

OTHERWISE = {
    "a column without an index": "SELECT slug FROM links WHERE email = 'ada@example.com'",
    "an index as a whole": "SELECT count(*) FROM links WHERE customer_id > ''",
    "sorting a state": "SELECT slug FROM links WHERE state = 'lapsed' ORDER BY slug DESC",
    "a condition on an expression": "DELETE FROM links WHERE lower(slug) = 'a-1'",
}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_every_statement_goes_by_an_index_in_a_ledger_of_ten_million_links(
    ledger: Ledger, database_url: str
) -> None:
    """PostgreSQL plans every statement of tasks, webhooks and people as for a table of that
    size.
    """
    await ledger.meetings.put(Meeting("intro"))
    await ledger.meetings.put(Meeting("meeting-0"))
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2"), fresh("a-3")])
    await ledger.links.record([claim("a-1", "ada", email="ada@example.com"), claim("a-2", "ben")])
    with noted() as statements:
        for work in kinds_of_work(ledger, 0, 0).values():
            await work()
        await webhooks(ledger)
        await people(ledger)
        await erasing(ledger)

    assert len(statements.seen) > 60
    assert await whole_reads(database_url, statements, small=True) == []


async def webhooks(ledger: Ledger) -> None:
    """Run the statements of an event, from its arrival on."""
    new = NewEvent("e-1", "default", "webhook", "booking.created", b"{}", NOW, "bk", "intro")
    await ledger.inbox.add(new)
    await ledger.inbox.due(NOW)
    await ledger.links.given_to_email("intro", "ada@example.com", by=NOW, until=NOW)
    await ledger.links.known_emails(["ada@example.com"])
    await ledger.bookings.find_named("default", ["bk", "id-1"])
    await ledger.bookings.settle(report("a-1"))
    await ledger.inbox.finish("e-1", EventState.SETTLED, slug="a-1", match="slug")
    await ledger.inbox.reopen_booking("default", ["bk", "id-1"])
    await ledger.inbox.retry_dead()
    await ledger.inbox.reopen_unmatched(NOW)
    await ledger.pruned.is_any("default", slugs=["a-1"], bookings=["bk"])


async def people(ledger: Ledger) -> None:
    """Run the statements of the page, the API and the command line."""
    await ledger.links.get("a-1")
    await ledger.links.move(["a-3"], State.RETIRED, at=NOW)
    await ledger.links.replaced("a-2", "ben", "burnt", at=NOW)
    await ledger.links.quarantine_fresh("intro", at=NOW)
    await ledger.links.adopt_fresh("intro", "e2")
    await ledger.search.link("a-1")
    await ledger.inbox.of_link("a-1", "bk")
    await ledger.inbox_search.page(Sought(), None, limit=50)
    await ledger.inbox_search.named("a-1", ["intro"])
    await ledger.inbox_search.latest_webhooks("default")
    await ledger.counts.fold()
    await ledger.counts.all()


async def erasing(ledger: Ledger) -> None:
    """Run the statements that erase a customer."""
    await ledger.links.forget("intro", "ada", "name-of-ada", MARKS)
    await ledger.erased.keep("a-1", MARKS, {"00"})
    await ledger.erased.unfinished()
    await ledger.erased.of_customer("intro", "name-of-ada")
    await ledger.erased.among(["00"])
    await ledger.erased.held(["ada", "ada@example.com"])
    await ledger.erased.slugs_among(["a-1"])
    await ledger.links.forgotten("intro")
    await ledger.links.lapse(NOW + timedelta(days=99))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("case", OTHERWISE)
async def test_a_statement_that_reads_the_whole_table_is_found(
    ledger: Ledger, database_url: str, case: str
) -> None:
    """A plan that goes through a whole index counts, though it is no sequential scan."""
    await ledger.links.insert_fresh([fresh("a-1")])
    statements = Statements()
    statements.seen[OTHERWISE[case]] = ()
    statements.seen["SELECT url FROM links WHERE slug = 'a-1'"] = ()

    [found, *_] = await whole_reads(database_url, statements, small=True)

    assert OTHERWISE[case] in found
    assert not any("url" in each for each in [found, *_])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_bodies_are_blanked_without_passing_those_that_are_blank(
    ledger: Ledger, database_url: str
) -> None:
    """Blank events are older than the first body. No index that holds them gives the order."""
    with noted() as statements:
        await ledger.retention.prune(events_before=NOW, bodies_before=NOW)

    async def steps() -> set[str]:
        plans = await plans_of(database_url, statements, small=True)
        [blanking] = [plan for statement, plan in plans.items() if statement.startswith("UPDATE")]
        nodes = list(nodes_of(blanking))
        return {node["Node Type"] for node in nodes} | {str(n.get("Index Name")) for n in nodes}

    assert "ix_inbox_state_received_at_id" in (before := await steps())
    assert not {"Sort", "Incremental Sort"} & before
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP INDEX ix_inbox_state_received_at_id")
    await connection.close()
    assert {"Sort", "Incremental Sort"} & await steps()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_numbers_of_links_are_read_without_any_link(
    ledger: Ledger, database_url: str
) -> None:
    """The page, `/v1/meetings` and `status` take as long with fifty million links as with ten
    million.
    """
    await ledger.links.insert_fresh([fresh("a-1")])
    with noted() as statements:
        await ledger.counts.all()
        await ledger.counts.of("intro")
        await ledger.counts.present()

    plans = await plans_of(database_url, statements, small=True)

    tables = {
        node["Relation Name"]
        for plan in plans.values()
        for node in nodes_of(plan)
        if "Relation Name" in node
    }
    assert tables == {"link_counts", "link_count_changes", "pruned_counts"}
