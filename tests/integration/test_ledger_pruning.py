"""Test the pruning of links that ended long ago, and what the ledger still knows of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from ledger_samples import MARKS, NOW, claim, fresh, known, report
from sqlalchemy import text

from bench.plans import noted, whole_reads
from pool.ledger import Ledger
from pool.ledger.pruned import mark_of_link
from pool.ledger.pruning import Place, PrunedLinks
from pool.model.links import State
from pool.model.meetings import Meeting

pytest_plugins = ("ledger_fixtures",)

DAY = timedelta(days=1)
BEFORE = NOW - 400 * DAY
OLD, YOUNG = BEFORE - DAY, BEFORE + DAY


async def ended(ledger: Ledger, slug: str, state: State, at: Any, **booking: Any) -> None:
    """Make a link that came into this state at this time, with one booking if it is booked."""
    await ledger.meetings.put(Meeting("intro"))
    await ledger.links.insert_fresh([fresh(slug, created_at=at)])
    if state in (State.RETIRED, State.QUARANTINED):
        await ledger.links.move([slug], state, at=at)
    elif state is not State.FRESH:
        lapses_at = NOW + DAY if state is State.CLAIMED else at
        await ledger.links.record([claim(slug, f"c-{slug}", claimed_at=at, lapses_at=lapses_at)])
    if state is State.LAPSED:
        await ledger.links.lapse(NOW)
    if state in (State.CONSUMED, State.CANCELLED):
        was = "confirmed" if state is State.CONSUMED else "cancelled"
        times = {"made_at": at, "heard_at": at, "starts_at": at, "ends_at": at, "sid": f"b-{slug}"}
        await ledger.bookings.settle(report(slug, was, **times | booking))
    assert (await known(ledger, slug)).state is state


async def pruned(ledger: Ledger) -> PrunedLinks:
    """Run every kind of pruning once, in one batch each. Return what was deleted."""
    done = PrunedLinks()
    for walk in await ledger.pruning.walks():
        found = await ledger.pruning.look(walk, BEFORE, None)
        done += await ledger.pruning.prune([each.slug for each in found if each.ripe], BEFORE)
    return done


async def slugs(ledger: Ledger) -> set[str]:
    return {row[0] for row in await ledger._database.rows(text("SELECT slug FROM links"))}


async def test_links_that_ended_long_ago_go_with_their_bookings(ledger: Ledger) -> None:
    """Links in every final state are deleted, and fresh or claimed ones never, however old."""
    for state in State:
        for name, at in (("old", OLD), ("young", YOUNG)):
            await ended(ledger, f"{name}-{state}", state, at)
    gone = {f"old-{state}" for state in State} - {"old-fresh", "old-claimed"}
    before, counts = await slugs(ledger), await ledger.counts.all()
    assert await ledger.pruning.count(BEFORE) == PrunedLinks(len(gone), 2)
    assert await pruned(ledger) == PrunedLinks(len(gone), 2)
    assert await slugs(ledger) == before - gone
    assert await ledger.bookings.get("default", "b-old-consumed") is None
    assert await ledger.bookings.get("default", "b-young-consumed") is not None
    assert await pruned(ledger) == PrunedLinks()
    # What was handed out in all does not fall, and the kept numbers are still those of the links.
    assert await ledger.counts.all() == counts
    assert await ledger.counts.of("intro") == counts["intro"]
    assert await ledger.counts.wrong() == []
    await ledger.counts.recount()
    assert await ledger.counts.all() == counts
    assert await ledger.counts.present() == len(before - gone)


@pytest.mark.parametrize(
    "later",
    [
        {"sid": "b-2", "ends_at": YOUNG},
        {"sid": "b-2", "starts_at": YOUNG, "ends_at": None},
        {"sid": "b-2", "heard_at": YOUNG, "ends_at": None, "starts_at": None},
        {"sid": "b-2", "state": "incomplete", "ends_at": YOUNG},
    ],
)
async def test_a_link_stays_while_one_of_its_bookings_is_young(
    ledger: Ledger, later: dict[str, Any]
) -> None:
    """A series may end years after its first meeting."""
    await ended(ledger, "a-1", State.CONSUMED, OLD)
    times = {"made_at": OLD, "heard_at": OLD, "starts_at": OLD, "ends_at": OLD}
    await ledger.bookings.settle(report("a-1", **times | later))
    assert await pruned(ledger) == PrunedLinks()
    assert await ledger.pruning.prune(["a-1"], BEFORE) == PrunedLinks()
    assert await ledger.pruning.count(BEFORE) == PrunedLinks()


async def test_a_booking_of_which_nobody_knows_the_end_goes_by_when_it_was_heard_of(
    ledger: Ledger,
) -> None:
    """Migrations made such bookings, and some events have no times."""
    await ended(ledger, "a-1", State.CONSUMED, OLD, starts_at=None, ends_at=None)
    assert await pruned(ledger) == PrunedLinks(1, 1)


async def test_a_link_whose_customer_is_being_erased_stays_until_that_is_done(
    ledger: Ledger,
) -> None:
    """The rest of that work is found by the link's row."""
    await ended(ledger, "a-1", State.CONSUMED, OLD)
    await ledger.links.forget("intro", "c-a-1", "name", MARKS)
    assert await pruned(ledger) == PrunedLinks()
    for each in await ledger.erased.unfinished():
        await ledger.erased.finish([each.slug], heard=False)
    assert await pruned(ledger) == PrunedLinks(1, 1)


async def test_a_pruned_slug_enters_no_pool_again(ledger: Ledger, other: Ledger) -> None:
    """When the provider repeats it, it is refused like one that the ledger still has."""
    await ended(ledger, "a-1", State.RETIRED, OLD)
    assert await pruned(ledger) == PrunedLinks(1, 0)
    counts = await ledger.counts.all()
    assert await other.links.insert_fresh([fresh("a-1"), fresh("a-2")]) == {"a-2"}
    assert await slugs(ledger) == {"a-2"}
    counts["intro"][State.FRESH] = 1
    assert await ledger.counts.all() == counts
    assert await ledger.counts.of("intro")
    assert not await ledger.counts.of("other")


async def test_a_meeting_whose_links_are_all_pruned_has_had_some(ledger: Ledger) -> None:
    """Its pool is not taken for one that was never filled."""
    await ended(ledger, "a-1", State.RETIRED, OLD)
    await pruned(ledger)
    assert await slugs(ledger) == set()
    assert await ledger.counts.of("intro")


async def test_a_slug_that_is_repeated_while_it_is_pruned_is_refused(
    ledger: Ledger, database_url: str
) -> None:
    """The insert waits for the transaction that deletes the row, and finds its mark then."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    await ended(ledger, "a-1", State.RETIRED, OLD)
    pruner: Any = await asyncpg.connect(database_url)
    async with pruner.transaction():
        await pruner.execute("DELETE FROM links")
        await pruner.execute("INSERT INTO pruned_marks VALUES ($1)", mark_of_link("a-1"))
        inserting = asyncio.create_task(ledger.links.insert_fresh([fresh("a-1")]))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(30):
            while not await pruner.fetchval(waits):  # noqa: ASYNC110 - it waits in the server
                await asyncio.sleep(0.01)
    assert await inserting == set()
    assert await slugs(ledger) == set()
    await pruner.close()


async def test_a_claim_of_a_pruned_link_is_a_conflict(ledger: Ledger) -> None:
    """Another customer may have had the link, so it is not written, and the alarm is raised."""
    await ended(ledger, "a-1", State.LAPSED, OLD)
    await pruned(ledger)
    late = claim("a-1", "ben")
    recorded = await ledger.links.record([late, claim("a-2", "ann")])
    assert (recorded.written, recorded.conflicts) == (1, (late,))
    assert await slugs(ledger) == {"a-2"}


async def test_what_was_pruned_is_known_by_every_name(ledger: Ledger) -> None:
    """Slug, booking SID and the provider's own id find it in its workspace."""
    await ended(ledger, "a-1", State.CONSUMED, OLD, provider_id="id-1")
    await pruned(ledger)
    is_any = ledger.pruned.is_any
    assert await is_any("default", slugs=["x", "a-1"], bookings=[])
    assert await is_any("default", slugs=[], bookings=["b-a-1"])
    assert await is_any("default", slugs=[], bookings=["x", "id-1"])
    assert not await is_any("other", slugs=["b-a-1", "id-1"], bookings=["b-a-1", "a-1"])
    assert not await is_any("default", slugs=[], bookings=[])


async def test_a_link_that_somebody_writes_is_passed_over(
    ledger: Ledger, database_url: str
) -> None:
    """Pruning does not wait for a booking that is being settled."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    for slug in ("a-1", "a-2"):
        await ended(ledger, slug, State.RETIRED, OLD)
    settling: Any = await asyncpg.connect(database_url)
    async with settling.transaction():
        await settling.execute("SELECT slug FROM links WHERE slug = 'a-1' FOR UPDATE")
        assert await pruned(ledger) == PrunedLinks(1, 0)
    await settling.close()
    assert await slugs(ledger) == {"a-1"}


async def test_two_that_prune_at_once_count_each_link_once(ledger: Ledger, other: Ledger) -> None:
    """Two workers, or a worker and a person, may prune at once."""
    for number in range(20):
        await ended(ledger, f"a-{number}", State.CONSUMED, OLD)
    done = await asyncio.gather(*(pruned(each) for each in (ledger, other, ledger)))
    while (rest := await pruned(ledger)).links:
        done.append(rest)
    assert sum(done, PrunedLinks()) == PrunedLinks(20, 20)
    assert await ledger.counts.of("intro") == {State.CONSUMED: 20}


async def test_a_walk_goes_on_where_it_stopped(ledger: Ledger) -> None:
    """It takes the oldest first, and repeats a moment unless nothing at it could be pruned."""
    for number in range(4):
        await ended(ledger, f"a-{number}", State.RETIRED, OLD - number // 2 * DAY)
    walk = (await ledger.pruning.walks())[0]

    async def look(place: Place | None) -> set[str]:
        return {each.slug for each in await ledger.pruning.look(walk, BEFORE, place, 2)}

    assert await look(None) == {"a-2", "a-3"}
    assert await look(Place(OLD - DAY)) == {"a-2", "a-3"}
    assert await look(Place(OLD - DAY, passed=True)) == {"a-0", "a-1"}
    assert await look(Place(OLD, passed=True)) == set()


async def test_pruning_reads_no_table_as_a_whole(ledger: Ledger, database_url: str) -> None:
    """However many links there are, a batch is found by indexes."""
    await ended(ledger, "a-1", State.CONSUMED, OLD)
    with noted() as statements:
        for walk in await ledger.pruning.walks():
            for place in (None, Place(OLD), Place(OLD, passed=True)):
                await ledger.pruning.look(walk, BEFORE, place)
        await ledger.pruning.prune(["a-1"], BEFORE)
        await ledger.links.insert_fresh([fresh("a-2")])
        await ledger.pruned.is_any("default", slugs=["a-1"], bookings=["b-1"])
    assert len(statements.seen) > 20
    if database_url.startswith("sqlite"):
        found: list[str] = []
        for statement, parameters in statements.seen.items():
            if statement.startswith(("SELECT", "DELETE", "INSERT")):
                plan = f"EXPLAIN QUERY PLAN {statement}"
                rows = await ledger._database.read(
                    lambda connection, plan=plan, given=parameters: connection.exec_driver_sql(
                        plan, given
                    ).all()
                )
                found += [f"{row[-1]}: {statement}" for row in rows if "SCAN links" in row[-1]]
                found += [f"{row[-1]}: {statement}" for row in rows if "SCAN bookings" in row[-1]]
        assert found == []
        return
    assert await whole_reads(database_url, statements, small=True) == []
