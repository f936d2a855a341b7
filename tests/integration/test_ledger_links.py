"""Test links in the ledger: made, moved, counted, looked up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ledger_samples import MARKS, NOW, TTL, booked_as, claim, fresh, known, report
from sqlalchemy import Connection, insert, update

from pool.ledger import Ledger
from pool.ledger.tables import link_count_changes, link_counts, links
from pool.model.links import Link, State
from pool.model.times import to_ms

pytest_plugins = ("ledger_fixtures",)


async def test_a_link_comes_back_as_it_was_written(ledger: Ledger) -> None:
    """Times come back aware, in UTC and exact to the millisecond, from any zone."""
    made = datetime(2026, 3, 29, 2, 30, 0, 999_999, timezone(timedelta(hours=2)))
    await ledger.links.insert_fresh([fresh("one-off-a", created_at=made)])
    kept = await known(ledger, "one-off-a")
    assert kept == fresh("one-off-a", created_at=made.replace(microsecond=999_000))
    assert kept.created_at.tzinfo is UTC
    assert await ledger.links.get("one-off-b") is None


async def test_a_naive_time_is_refused(ledger: Ledger) -> None:
    """A time without a zone never enters the ledger."""
    naive = fresh("one-off-a", created_at=NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="aware"):
        await ledger.links.insert_fresh([naive])


async def test_only_new_slugs_are_returned(ledger: Ledger) -> None:
    """A slug that is known or stands twice is inserted at most once and never overwritten."""
    assert await ledger.links.insert_fresh([]) == set()
    assert await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")]) == {"a-1", "a-2"}
    again = [fresh("a-2", epoch="e2"), fresh("a-3", epoch="e2"), fresh("a-3", epoch="e3")]
    assert await ledger.links.insert_fresh(again) == {"a-3"}
    assert (await known(ledger, "a-2")).epoch == "e1"
    assert (await known(ledger, "a-3")).epoch == "e2"


async def test_each_slug_is_new_for_one_of_many(ledger: Ledger, other: Ledger) -> None:
    """Each slug that many insert at once is returned to exactly one of them."""
    slugs = [f"a-{number}" for number in range(200)]
    batches = [[fresh(slug) for slug in slugs], [fresh(slug) for slug in reversed(slugs)]]
    inserted = await asyncio.gather(
        *(which.links.insert_fresh(batch) for which in (ledger, other) for batch in batches)
    )
    assert sorted(slug for each in inserted for slug in each) == sorted(slugs)


async def test_move_takes_only_links_that_may_move(ledger: Ledger) -> None:
    """Retiring skips claimed and unknown links, and does nothing the second time."""
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2"), fresh("a-3")])
    await ledger.links.record([claim("a-2", "ada")])
    slugs = ["a-3", "a-2", "a-1", "unknown"]
    assert sorted(await ledger.links.move(slugs, State.RETIRED, at=NOW)) == ["a-1", "a-3"]
    assert await ledger.links.move(slugs, State.RETIRED, at=NOW) == []
    assert await ledger.links.move([], State.RETIRED, at=NOW) == []
    assert (await known(ledger, "a-2")).state is State.CLAIMED


async def test_quarantine_takes_fresh_links_of_one_meeting_only(ledger: Ledger) -> None:
    """Fresh links of every epoch are quarantined; other meetings and states are left alone."""
    await ledger.links.insert_fresh(
        [fresh("a-1"), fresh("a-2", epoch="e2"), fresh("b-1", meeting_sid="demo"), fresh("a-3")]
    )
    await ledger.links.record([claim("a-3", "ada")])
    assert await ledger.links.quarantine_fresh("intro", at=NOW) == 2
    assert (await known(ledger, "a-1")).state is State.QUARANTINED
    assert await ledger.links.quarantine_fresh("intro", at=NOW) == 0
    assert await ledger.counts.all() == {
        "intro": {State.QUARANTINED: 2, State.CLAIMED: 1},
        "demo": {State.FRESH: 1},
    }
    assert await ledger.links.fresh_of(["intro", "demo", "none"]) == {"demo": 1}
    assert await ledger.counts.of("demo") == {State.FRESH: 1}
    assert await ledger.counts.of("none") == {}
    assert await ledger.counts.of("demo")
    assert not await ledger.counts.of("none")


async def test_adopted_links_change_their_epoch_alone(ledger: Ledger) -> None:
    """Adopting moves fresh links to the new epoch, and nothing else."""
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2"), fresh("b-1", meeting_sid="demo")])
    await ledger.links.record([claim("a-2", "ada")])
    assert await ledger.links.adopt_fresh("intro", "e2") == 1
    assert await known(ledger, "a-1") == fresh("a-1", epoch="e2")
    assert (await known(ledger, "a-2")).epoch == "e1"
    assert (await known(ledger, "b-1")).epoch == "e1"


async def test_fresh_links_are_listed_by_age(ledger: Ledger) -> None:
    """The oldest come first, and links made at or after the time are left out."""
    made = [fresh(f"a-{n}", created_at=NOW - timedelta(seconds=n)) for n in range(5)]
    await ledger.links.insert_fresh(made)
    await ledger.links.record([claim("a-3", "ada")])
    assert await ledger.links.fresh("intro", before=NOW, limit=2) == [made[4], made[2]]
    assert len(await ledger.links.fresh("intro", before=NOW, limit=9)) == 3


async def test_find_returns_what_is_known(ledger: Ledger) -> None:
    """Unknown slugs are left out."""
    await ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    found = await ledger.links.find(["a-2", "unknown", "a-1"])
    assert {link.slug for link in found} == {"a-1", "a-2"}
    assert await ledger.links.find([]) == []


async def test_the_claim_of_a_customer_is_their_latest(ledger: Ledger) -> None:
    """Cancelled and lapsed links and those of other meetings do not count."""
    later = NOW + timedelta(seconds=1)
    await ledger.links.record(
        [
            claim("a-1", "ada"),
            claim("a-2", "ada", claimed_at=later),
            claim("b-1", "ada", meeting_sid="demo", claimed_at=later + TTL),
        ]
    )
    latest = await ledger.links.claim_of("intro", "ada")
    assert latest is not None
    assert latest.slug == "a-2"
    await ledger.bookings.settle(report("a-2", "cancelled", sid="b"))
    earlier = await ledger.links.claim_of("intro", "ada")
    assert earlier is not None
    assert earlier.slug == "a-1"
    await ledger.bookings.settle(report("a-1", "confirmed", sid="b-1"))
    assert await ledger.links.claim_of("intro", "ada") == await ledger.links.get("a-1")
    assert await ledger.links.claim_of("intro", "bob") is None


async def test_claims_lapse_when_their_time_is_over(ledger: Ledger) -> None:
    """The oldest claims lapse first, at most as many as asked for, and no other links."""
    ends = [NOW + timedelta(milliseconds=n) for n in range(4)]
    await ledger.links.record([claim(f"a-{n}", f"c{n}", lapses_at=ends[n]) for n in range(4)])
    await ledger.bookings.settle(report("a-0", "confirmed", sid="b"))
    assert (await ledger.links.lapse(ends[3], limit=1)).total() == 1
    assert (await known(ledger, "a-1")).state is State.LAPSED
    assert (await ledger.links.lapse(ends[3])).total() == 1
    assert (await ledger.links.lapse(ends[3])).total() == 0
    assert (await known(ledger, "a-0")).state is State.CONSUMED
    assert (await known(ledger, "a-3")).state is State.CLAIMED


async def test_an_email_finds_the_claims_that_stood_at_a_time(ledger: Ledger) -> None:
    """An e-mail finds the claims of one meeting made by then that had not lapsed, in any later
    state.
    """
    mail = "zoë.Ö@Example.com"
    await ledger.links.record(
        [
            claim("a-1", "c1", email=mail),
            claim("a-2", "c2", email="ZOë.Ö@eXample.com", claimed_at=NOW - TTL),
            claim("a-3", "c3", email=mail, lapses_at=NOW),
            claim("a-4", "c4", email="other@example.com"),
            claim("x-1", "c5", email=mail, meeting_sid="elsewhere"),
        ]
    )
    second = timedelta(seconds=1)
    await ledger.links.lapse(NOW + second)
    await ledger.bookings.settle(report("a-2", "cancelled", sid="b"))

    async def found(by: datetime, until: datetime) -> list[str]:
        links = await ledger.links.given_to_email("intro", mail, by=by, until=until)
        return [link.slug for link in links]

    assert await found(NOW, NOW) == ["a-1", "a-3", "a-2"]
    assert await found(NOW, NOW + second) == ["a-1", "a-2"]
    assert await found(NOW - second, NOW) == ["a-2"]
    assert await found(NOW - TTL - second, NOW) == []
    assert await ledger.links.known_emails({mail, "nobody@example.com"}) == {mail}


async def test_different_mailboxes_are_distinguished(ledger: Ledger) -> None:
    """That holds for keys in rows of an older linkpool, too, which folded ß to ss."""
    await ledger.links.record(
        [
            claim("a-1", "c1", email="strasse@example.com"),
            claim("a-2", "c2", email="Straße@EXAMPLE.com"),
            claim("a-3", "c3", email="zoe\u0308@example.com"),
        ]
    )

    async def found(email: str) -> list[str]:
        links = await ledger.links.given_to_email("intro", email, by=NOW, until=NOW)
        return [link.slug for link in links]

    async def compare() -> None:
        assert await found("STRASSE@example.com") == ["a-1"]
        assert await found("straße@example.com") == ["a-2"]
        assert await found("zoë@example.com") == ["a-3"]
        assert await found("zoe@example.com") == []

    await compare()
    for slug, old_key in (
        ("a-2", "strasse@example.com"),
        ("a-3", "zoe\u0308@example.com"),
    ):
        await ledger._database.change(
            update(links).where(links.c.slug == slug).values(email_key=old_key)
        )
    await compare()


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
async def test_live_bindings_stream_all_and_only_them(ledger: Ledger, batch: int) -> None:
    """Every claimed, consumed and cancelled link with a customer comes once, oldest first."""
    claims = [
        # Equal times, which only the slug tells apart, on both sides of a page's end.
        claim(f"a-{n}", f"c{n}", claimed_at=NOW + timedelta(milliseconds=n // 4))
        for n in reversed(range(10))
    ]
    await ledger.links.record(claims)
    await ledger.links.record([claim("b-1", "c1", meeting_sid="demo")])
    await ledger.links.record([claim("a-l", "c-l", lapses_at=NOW)])
    await ledger.links.lapse(NOW + timedelta(seconds=1))
    await ledger.links.insert_fresh([fresh("a-f"), fresh("a-g")])
    for slug, state in (("a-3", State.CONSUMED), ("a-5", State.CANCELLED), ("a-g", State.CONSUMED)):
        await ledger.bookings.settle(report(slug, booked_as(state), sid=f"b-{slug}"))

    pages = [page async for page in ledger.links.live_bindings("intro", batch=batch)]

    assert all(0 < len(page) <= batch for page in pages)
    bindings = [binding for page in pages for binding in page]
    assert [binding.slug for binding in bindings] == [f"a-{n}" for n in range(10)]
    assert [binding.customer_id for binding in bindings] == [f"c{n}" for n in range(10)]
    by_slug = {binding.slug: binding for binding in bindings}
    assert by_slug["a-3"].state is State.CONSUMED
    assert by_slug["a-3"].consumed_at_ms == to_ms(NOW)
    assert by_slug["a-5"].state is State.CANCELLED
    assert by_slug["a-9"].claimed_at_ms == to_ms(NOW) + 2
    assert by_slug["a-9"].lapses_at_ms == to_ms(NOW + TTL)
    assert [page async for page in ledger.links.live_bindings("none")] == []


async def test_a_stream_of_bindings_may_be_left(ledger: Ledger) -> None:
    """Leaving the stream early does not keep its connection from others."""
    await ledger.links.record([claim(f"a-{n}", f"c{n}") for n in range(20)])
    for _ in range(30):
        pages = ledger.links.live_bindings("intro", batch=1)
        await anext(pages)
        await pages.aclose()  # type: ignore[attr-defined]
    assert isinstance(await ledger.links.get("a-1"), Link)


async def test_counts_are_kept_as_links_move(ledger: Ledger) -> None:
    """Whatever moves links, repeats included, moves the numbers; folding changes none of them."""
    made = [fresh(f"a-{n}") for n in range(6)] + [fresh("b-1", meeting_sid="demo")]
    await ledger.links.insert_fresh(made)
    await ledger.links.insert_fresh([*made, fresh("a-6")])
    for _ in range(2):
        await ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob"), claim("new", "cy")])
    await ledger.links.move(["a-3", "b-1", "a-1"], State.RETIRED, at=NOW)
    await ledger.counts.fold()
    await ledger.links.quarantine_fresh("intro", at=NOW)
    await ledger.links.forget("intro", "bob", "name", MARKS)
    expected = {
        "intro": {State.CLAIMED: 2, State.LAPSED: 1, State.RETIRED: 1, State.QUARANTINED: 4},
        "demo": {State.RETIRED: 1},
    }
    for _ in range(2):
        assert await ledger.counts.all() == expected
        assert await ledger.counts.of("intro") == expected["intro"]
        assert await ledger.counts.wrong() == []
        await ledger.counts.fold()


async def test_a_failed_change_changes_no_count(ledger: Ledger) -> None:
    """Numbers and links are of one transaction."""
    await ledger.links.insert_fresh([fresh("a-1")])

    def half(connection: Connection) -> None:
        connection.execute(update(links).values(state=State.RETIRED))
        raise ValueError("as if the process had died")

    with pytest.raises(ValueError, match="died"):
        await ledger._database.write(half)
    assert await ledger.counts.all() == {"intro": {State.FRESH: 1}}
    assert await ledger.counts.wrong() == []


async def test_wrong_counts_are_found_and_mended(ledger: Ledger) -> None:
    """If a number is ever wrong, counting all links corrects it."""
    await ledger.links.insert_fresh([fresh("a-1"), fresh("b-1", meeting_sid="demo")])
    await ledger._database.change(update(link_counts).values(number=9))
    await ledger._database.change(
        insert(link_count_changes).values(meeting_sid="demo", state=State.FRESH, change=5)
    )
    assert "demo" in await ledger.counts.wrong()
    await ledger.counts.recount()
    assert await ledger.counts.wrong() == []
    assert await ledger.counts.all() == {"intro": {State.FRESH: 1}, "demo": {State.FRESH: 1}}
