"""Test recording claims: replays, conflicts, two recorders, and forgetting."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from ledger_samples import MARKS, NOW, TTL, booked_as, claim, fresh, known, report

from bench.plans import noted, whole_reads
from pool.ledger import EventState, Ledger, NewEvent, Recorded
from pool.ledger.records import Forgotten
from pool.model.links import Link, State

pytest_plugins = ("ledger_fixtures",)

NOTHING = Recorded(written=0, conflicts=(), settled=())


@pytest.mark.parametrize("before", [State.FRESH, State.RETIRED, State.QUARANTINED])
async def test_a_claim_binds_a_link_nobody_holds(ledger: Ledger, before: State) -> None:
    """A link that was thought retired or quarantined is bound, too: a late claim is the truth."""
    await ledger.links.insert_fresh([fresh("a-1")])
    if before is not State.FRESH:
        await ledger.links.move(["a-1"], before, at=NOW)
    made = claim(
        "a-1", "Zoë / 1", email="Zoë@Example.com", metadata={"order": 7, "n": [None, "\0", 2**70]}
    )
    assert await ledger.links.record([made]) == replace(NOTHING, written=1)
    assert await known(ledger, "a-1") == fresh(
        "a-1",
        state=State.CLAIMED,
        customer_id="Zoë / 1",
        email="Zoë@Example.com",
        metadata={"order": 7, "n": [None, "\0", 2**70]},
        claimed_at=NOW,
        lapses_at=NOW + TTL,
    )


async def test_a_claim_of_an_unknown_link_is_kept(ledger: Ledger) -> None:
    """If the link's row was lost, the claim creates it again."""
    made = claim("a-1", "ada", source="direct", metadata={})
    assert await ledger.links.record([made]) == replace(NOTHING, written=1)
    link = await known(ledger, "a-1")
    assert (link.state, link.epoch, link.source) == (State.CLAIMED, "", "direct")
    assert (link.url, link.customer_id, link.metadata) == (made.url, "ada", {})


async def test_replays_change_nothing(ledger: Ledger) -> None:
    """Claims that are recorded again, in part, twice or after they lapsed, write nothing."""
    await ledger.links.insert_fresh([fresh(f"a-{n}") for n in range(50)])
    claims = [claim(f"a-{n}", f"c{n}") for n in range(100)]
    assert await ledger.links.record(claims + claims[::3]) == replace(NOTHING, written=100)
    assert await ledger.links.record(claims[20:40] + claims) == NOTHING
    assert (await ledger.links.lapse(NOW + 2 * TTL)).total() == 100
    assert await ledger.links.record(claims) == NOTHING
    assert await ledger.counts.of("intro") == {State.LAPSED: 100}
    assert await ledger.links.record([]) == NOTHING


async def test_a_link_of_another_customer_stays_theirs(ledger: Ledger) -> None:
    """A second customer of a link, in this batch or later, is reported as a conflict."""
    first, second = claim("a-1", "ada"), claim("a-1", "bob", claimed_at=NOW - TTL)
    for claims in ([first, second], [second, first, second]):
        result = await ledger.links.record(claims)
        assert set(result.conflicts) == {second}
    assert (await known(ledger, "a-1")).customer_id == "ada"
    await ledger.links.lapse(NOW + 2 * TTL)
    assert (await ledger.links.record([second])).conflicts == (second,)


@pytest.mark.parametrize("state", [State.CONSUMED, State.CANCELLED])
async def test_a_booking_seen_before_the_claim_stays(ledger: Ledger, state: State) -> None:
    """The link gets its customer, keeps its state, and is reported as settled, each time."""
    await ledger.links.insert_fresh([fresh("a-1")])
    await ledger.bookings.settle(report("a-1", booked_as(state), sid="b-1"))
    for written in (1, 0):
        result = await ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob")])
        assert result.written == 2 * written
        assert result.settled == (await known(ledger, "a-1"),)
    link = await known(ledger, "a-1")
    assert (link.state, link.customer_id, link.lapses_at) == (state, "ada", NOW + TTL)
    assert (await ledger.links.record([claim("a-1", "eve")])).settled == ()


async def test_an_email_no_database_can_hold_does_not_stop_the_rest(ledger: Ledger) -> None:
    """Characters that PostgreSQL refuses are replaced: one claim never holds up others."""
    await ledger.links.record([claim("a-1", "ada", email="a\0\ud800@example.com")])
    assert (await known(ledger, "a-1")).email == "a\ufffd?@example.com"


async def test_two_recorders_of_the_same_claims_agree(ledger: Ledger, other: Ledger) -> None:
    """Each claim is written once, the second recorder gets the conflicts, and neither hangs."""
    await ledger.links.insert_fresh([fresh(f"a-{n:03}") for n in range(0, 300, 2)])
    ours = [claim(f"a-{n:03}", f"c{n}") for n in range(300)]
    theirs = ours[:290] + [claim(f"a-{n:03}", "eve") for n in range(290, 300)]
    random.Random(1).shuffle(theirs)
    results = await asyncio.gather(
        ledger.links.record(ours),
        other.links.record(theirs),
        ledger.links.record(theirs[::-1]),
        other.links.quarantine_fresh("intro", at=NOW),
        other.links.record(ours[::-1]),
    )
    recorded = [result for result in results if isinstance(result, Recorded)]
    assert sum(result.written for result in recorded) == 300
    links = await ledger.links.find([one.slug for one in ours])
    assert {link.state for link in links} == {State.CLAIMED}
    holders = {link.slug: link.customer_id for link in links}
    for result, batch in zip(recorded, (ours, theirs, theirs, ours), strict=True):
        lost = {one for one in map(tuple, _pairs(batch)) if holders[one[0]] != one[1]}
        assert set(_pairs(result.conflicts)) == lost


def _pairs(claims: object) -> list[tuple[str, str]]:
    return [(one.slug, one.customer_id) for one in claims]  # type: ignore[attr-defined]


async def test_a_forgotten_customer_is_gone(ledger: Ledger) -> None:
    """Id, e-mail and metadata are erased, in events too, and a replayed claim does not restore
    them.
    """
    made = [
        claim("a-1", "ada", email="ada@example.com", metadata={"order": 1}),
        claim("a-2", "ada", email="ada@example.com"),
        claim("a-3", "bob"),
        claim("b-1", "ada", meeting_sid="demo"),
    ]
    await ledger.links.record(made)
    await ledger.bookings.settle(
        report("a-2", sid="b", email_key="ada!", manage_url="https://ada.test")
    )
    for event_id, slug in (("e-1", "a-2"), ("e-2", "a-3")):
        await ledger.inbox.add(
            NewEvent(event_id, "default", "webhook", "booking_created", b"ada!", NOW)
        )
        await ledger.inbox.finish(event_id, EventState.SETTLED, slug=slug, match="slug")
    before = await ledger.links.find(["a-1", "a-2"])

    forgotten = await ledger.links.forget("intro", "ada", "name-of-ada", MARKS)

    assert forgotten == sorted(before, key=lambda link: link.slug)
    again = await ledger.links.record(made)
    assert (again.written, again.forgotten) == (0, (made[0], made[1]))
    assert await ledger.links.forgotten("intro") == [
        Forgotten("a-1", "name-of-ada"),
        Forgotten("a-2", "name-of-ada"),
    ]
    assert await ledger.links.forgotten("intro", after="a-1", limit=5) == [
        Forgotten("a-2", "name-of-ada")
    ]
    assert await ledger.links.forgotten("demo") == []
    for slug, state in (("a-1", State.LAPSED), ("a-2", State.CONSUMED)):
        link = await known(ledger, slug)
        assert (link.state, link.customer_id) == (state, None)
        assert (link.email, link.metadata) == (None, None)
    assert await ledger.links.given_to_email("intro", "ada@example.com", by=NOW, until=NOW) == []
    pseudonym = MARKS.pseudonym("default", "b")
    booking = await ledger.bookings.get("default", pseudonym)
    assert booking is not None
    assert (booking.email_key, booking.manage_url, booking.state) == (None, None, "confirmed")
    assert await ledger.bookings.get("default", "b") is None
    # What is heard of it later brings nothing back.
    fields = {"email_key": "ada!", "manage_url": "https://ada.test"}
    later = report("a-2", "cancelled", sid=booking.sid, **fields)
    await ledger.bookings.settle(replace(later, changed_at=NOW + TTL))
    booking = await ledger.bookings.get("default", pseudonym)
    assert booking is not None
    assert (booking.email_key, booking.manage_url, booking.state) == (None, None, "cancelled")
    assert await ledger.links.forget("intro", "ada", "name-of-ada", MARKS) == []
    assert {event.id: event.body for event in await ledger.inbox.list()} == {
        "e-1": b"",
        "e-2": b"ada!",
    }
    assert (await known(ledger, "b-1")).customer_id == "ada"
    pages = [page async for page in ledger.links.live_bindings("intro")]
    assert [binding.customer_id for page in pages for binding in page] == ["bob"]


async def test_a_new_claim_of_the_same_link_by_another_is_not_bound_after_forgetting(
    ledger: Ledger,
) -> None:
    """A forgotten customer's link belongs to nobody ever after."""
    await ledger.links.record([claim("a-1", "ada")])
    await ledger.links.forget("intro", "ada", "name-of-ada", MARKS)
    late = claim("a-1", "bob", claimed_at=NOW + timedelta(days=1))
    assert (await ledger.links.record([late])).written == 0
    link: Link = await known(ledger, "a-1")
    assert link.customer_id is None


async def test_a_claim_is_written_where_its_row_was_locked(
    ledger: Ledger, database_url: str
) -> None:
    """Rows are looked up by their slugs once, so that recording takes as long in any ledger."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite takes no row locks")
    await ledger.links.insert_fresh([fresh(f"a-{n}") for n in range(3)])
    with noted() as statements:
        recorded = await ledger.links.record([claim(f"a-{n}", f"c-{n}") for n in range(3)])
    assert recorded.written == 3
    assert await whole_reads(database_url, statements, small=True) == []
    [(update, values)] = [
        each for each in statements.seen.items() if each[0].startswith("UPDATE links")
    ]
    connection: Any = await asyncpg.connect(database_url)
    # In a small table other ways are as good.
    for other_way in ("seqscan", "indexscan", "bitmapscan", "hashjoin", "mergejoin"):
        await connection.execute(f"SET enable_{other_way} = off")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {update}", *values))
    await connection.close()
    assert "Tid Scan on links" in plan
    assert "pk_links" not in plan


async def test_a_row_that_moves_while_it_is_waited_for_is_still_found(
    ledger: Ledger, database_url: str
) -> None:
    """Another process writes the link first, so the row is elsewhere, and it is still fresh."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite takes no row locks")
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    before: Any = await asyncpg.connect(database_url)
    async with before.transaction():
        await before.execute("UPDATE links SET epoch = 'later' WHERE slug = 'a-1'")
        recording = asyncio.create_task(
            ledger.links.record([claim("a-1", "ann"), claim("a-2", "ben")])
        )
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(30):
            while not await before.fetchval(waits):  # noqa: ASYNC110 - it waits in the server
                await asyncio.sleep(0.01)
    await before.close()
    assert (await recording).written == 2
    for slug, customer in (("a-1", "ann"), ("a-2", "ben")):
        link = await known(ledger, slug)
        assert (link.customer_id, link.state) == (customer, State.CLAIMED)
    assert (await known(ledger, "a-1")).epoch == "later"
