"""Test links in the ledger to the letter: times, orders, and what recovery reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import event as event_of_engine
from sqlalchemy import update

from pool.ledger import Ledger
from pool.ledger.columns import milliseconds
from pool.ledger.sqlite import Sqlite
from pool.ledger.tables import links
from pool.model.links import State
from tests.integration.ledger_samples import NOW, TTL, claim, fresh, report

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)

# -- links ---------------------------------------------------------------------------------------


async def test_a_customers_last_claim_is_found_by_time_then_by_slug(sqlite_ledger: Ledger) -> None:
    """A link without a time of claim stands before all that have one."""
    await sqlite_ledger.links.record(
        [claim("a-1", "ada"), claim("a-3", "ada"), claim("a-2", "ada")]
    )
    for expected in ("a-3", "a-2", "a-1"):
        held = await sqlite_ledger.links.claim_of("intro", "ada")
        assert held is not None
        assert held.slug == expected
        await sqlite_ledger._database.change(
            update(links).where(links.c.slug == expected).values(claimed_at=None)
        )


async def test_what_moves_links_says_when(sqlite_ledger: Ledger) -> None:
    """Each by its time, and only those that were asked for."""
    await sqlite_ledger.links.insert_fresh([fresh(f"a-{n}") for n in range(4)])
    await sqlite_ledger.links.move(["a-0"], State.RETIRED, at=NOW + SECOND)
    await sqlite_ledger.links.move(["a-1"], State.QUARANTINED, at=NOW + MINUTE)
    await sqlite_ledger.links.record([claim("a-2", "ada")])
    assert await sqlite_ledger.links.quarantine_fresh("intro", at=NOW + DAY) == 1
    found = {slug: await sqlite_ledger.search.link(slug) for slug in ("a-0", "a-1", "a-2", "a-3")}
    assert [each and (each.link.state, each.withdrawn_at) for each in found.values()] == [
        (State.RETIRED, NOW + SECOND), (State.QUARANTINED, NOW + MINUTE), (State.CLAIMED, None),
        (State.QUARANTINED, NOW + DAY),
    ]  # fmt: skip
    assert await sqlite_ledger.links.move(["a-1"], State.RETIRED, at=NOW) == []


async def test_known_emails_are_returned_as_they_were_asked_for(
    sqlite_ledger: Ledger,
) -> None:
    await sqlite_ledger.links.record([claim("a-1", "ada", email="ada@x.test"), claim("a-2", "bob")])
    asked = ["ADA@x.test", "bob@x.test", "ada@x.test"]
    assert await sqlite_ledger.links.known_emails(asked) == {"ADA@x.test", "ada@x.test"}
    assert await sqlite_ledger.links.known_emails([]) == set()


async def test_claims_that_lapse_are_counted_by_meeting(sqlite_ledger: Ledger) -> None:
    await sqlite_ledger.links.record(
        [claim("a-1", "ada"), claim("a-2", "bob"), claim("d-1", "ada", meeting_sid="demo")]
    )
    lapsed = await sqlite_ledger.links.lapse(NOW + 2 * TTL, 10)
    assert dict(lapsed) == {"intro": 2, "demo": 1}


async def test_recovery_reads_what_is_known_of_a_booking(sqlite_ledger: Ledger) -> None:
    """It reads every field of the booking that a consumed link names, and of no other."""
    await sqlite_ledger.links.record([claim(f"a-{n}", f"c{n}", source="direct") for n in range(3)])
    settle = sqlite_ledger.bookings.settle
    told = {"starts_at": NOW + DAY, "ends_at": NOW + DAY + MINUTE, "time_zone": "Asia/Kolkata"}
    await settle(report("a-0", "pending", sid="b-0", manage_url="https://a.test/0", **told))
    await settle(report("a-1", "cancelled", sid="b-1", **told))
    [page] = [page async for page in sqlite_ledger.links.live_bindings("intro")]
    consumed, cancelled, claimed = page
    ms = milliseconds
    assert consumed.booked is not None
    assert [
        getattr(consumed.booked, name) for name in consumed.booked.__struct_fields__
    ] == [
        "b-0", "pending", ms(NOW + DAY), ms(NOW + DAY + MINUTE), "Asia/Kolkata", "https://a.test/0",
    ]  # fmt: skip
    assert (cancelled.state, cancelled.booked, cancelled.booking_sid) == (
        State.CANCELLED, None, "b-1",
    )  # fmt: skip
    assert claimed.booked is None
    values = [getattr(claimed, name) for name in claimed.__struct_fields__][:8]
    assert values == ["c2", "a-2", "claimed", "direct", ms(NOW), ms(NOW + TTL), None, None]
    assert consumed.consumed_at_ms == ms(NOW)


async def test_fresh_links_are_bound_by_one_statement(sqlite_ledger: Ledger) -> None:
    """Almost all claims are of fresh links: none of them is looked at once more."""
    await sqlite_ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    file, said = sqlite_ledger._database._kind, list[str]()
    assert isinstance(file, Sqlite)

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement.split()[0])

    event_of_engine.listen(file._writer._engine, "before_cursor_execute", executed)
    await sqlite_ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob")])
    assert said == ["BEGIN", "UPDATE"]


# -- search -------------------------------------------------------------------------------------


async def test_a_search_shows_so_many_of_a_kind_the_last_moved_first(
    sqlite_ledger: Ledger,
) -> None:
    """The last of the times made, claimed, booked and cancelled counts."""
    await sqlite_ledger.links.insert_fresh([fresh("who", created_at=NOW + 3 * SECOND)])
    await sqlite_ledger.links.record(
        [
            claim("a-1", "who", claimed_at=NOW + SECOND),
            claim("a-2", "else", claimed_at=NOW),
            claim("a-3", "else-2", claimed_at=NOW),
        ]
    )
    await sqlite_ledger.bookings.settle(
        report("a-2", sid="who", made_at=NOW + 2 * SECOND, stood_at=NOW + 2 * SECOND)
    )
    found = await sqlite_ledger.search.links("who", ["intro"])
    assert [each.link.slug for each in found] == ["who", "a-2", "a-1"]
    many = [claim(f"m-{n}", "many") for n in range(5)]
    await sqlite_ledger.links.record(many)
    assert len(await sqlite_ledger.search.links("many", ["intro"], limit=3)) == 3
    assert await sqlite_ledger.search.links("no@mail.test", ["intro"]) == []
