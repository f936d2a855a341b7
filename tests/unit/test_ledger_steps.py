"""Test the small steps of the ledger: bookings by their names, and links."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from pool.errors import UnknownMeeting
from pool.ledger import Ledger
from pool.ledger.bookings import rename
from pool.model.links import State
from pool.model.marks import Marks
from pool.model.meetings import Meeting
from tests.integration.ledger_samples import NOW, claim, fresh, report

MARKS = Marks(b"secret key of the tests")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


# -- the oldest booking or claim that may change -------------------------------------


@pytest.mark.parametrize(
    ("state", "fields", "counts"),
    [
        ("confirmed", {"ends_at": NOW}, True),
        ("confirmed", {"ends_at": NOW - SECOND}, False),
        ("pending", {"ends_at": NOW}, True),
        ("incomplete", {"ends_at": NOW}, True),
        ("no_show", {"ends_at": NOW}, True),
        ("cancelled", {"ends_at": NOW + DAY}, False),
        ("rejected", {"ends_at": NOW + DAY}, False),
        ("confirmed", {"ends_at": None, "heard_at": NOW}, True),
        ("confirmed", {"ends_at": None, "heard_at": NOW - SECOND}, False),
        ("confirmed", {"ends_at": NOW, "heard_at": NOW - DAY}, True),
        ("confirmed", {"ends_at": NOW, "workspace": "other"}, False),
    ],
)
async def test_which_bookings_may_still_change(
    sqlite_ledger: Ledger, state: str, fields: dict[str, Any], counts: bool
) -> None:
    """They are of this workspace, did not end long ago, and may come to stand."""
    await sqlite_ledger.links.record([claim("a-1", "ada")])
    made = {"made_at": NOW - 9 * DAY}
    await sqlite_ledger.bookings.settle(report("a-1", state, **(made | fields)))
    oldest = await sqlite_ledger.bookings.oldest_open("default", over_since=NOW)
    assert oldest == (NOW - 9 * DAY if counts else None)


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"made_at": NOW - 3 * DAY, "stood_at": NOW - 2 * DAY, "heard_at": NOW}, NOW - 3 * DAY),
        ({"made_at": None, "stood_at": NOW - 2 * DAY, "heard_at": NOW}, NOW - 2 * DAY),
        ({"made_at": None, "stood_at": None, "heard_at": NOW - DAY}, NOW - DAY),
    ],
)
async def test_a_booking_was_made_at_the_best_time_that_is_known(
    sqlite_ledger: Ledger, fields: dict[str, Any], since: datetime
) -> None:
    """It is the provider's time, or when the booking began to stand, or when it was first
    reported.
    """
    await sqlite_ledger.links.record([claim("a-1", "ada")])
    await sqlite_ledger.bookings.settle(report("a-1", ends_at=NOW, **fields))
    assert await sqlite_ledger.bookings.oldest_open("default", over_since=NOW - 9 * DAY) == since


async def test_which_claims_may_still_be_booked(sqlite_ledger: Ledger) -> None:
    """They are live claims of this workspace's meetings, of which the oldest counts."""
    await sqlite_ledger.meetings.put(Meeting("intro"))
    await sqlite_ledger.meetings.put(Meeting("demo", workspace="other"))
    oldest = sqlite_ledger.bookings.oldest_open
    await sqlite_ledger.links.record(
        [
            claim("a-1", "ada", claimed_at=NOW - 3 * DAY, lapses_at=NOW - DAY),
            claim("a-2", "bob", claimed_at=NOW - 2 * DAY),
            claim("a-3", "cyd", claimed_at=NOW - DAY),
            claim("d-1", "ada", meeting_sid="demo", claimed_at=NOW - 9 * DAY),
        ]
    )
    assert await oldest("default", over_since=NOW) == NOW - 3 * DAY
    assert await oldest("other", over_since=NOW) == NOW - 9 * DAY
    assert await oldest("none", over_since=NOW) is None
    await sqlite_ledger.links.lapse(NOW)
    assert await oldest("default", over_since=NOW) == NOW - 2 * DAY
    await sqlite_ledger.bookings.settle(report("a-2", "cancelled"))
    assert await oldest("default", over_since=NOW) == NOW - DAY
    late = {"made_at": NOW - SECOND, "ends_at": NOW + DAY}
    await sqlite_ledger.bookings.settle(report("a-3", sid="late", **late))
    assert await oldest("default", over_since=NOW) == NOW - SECOND


# -- bookings by their names ---------------------------------------------------------


async def test_a_booking_is_found_by_either_of_its_names(sqlite_ledger: Ledger) -> None:
    """Of two bookings that share the name, the one with that SID is returned."""
    await sqlite_ledger.links.record([claim(f"a-{n}", f"c{n}") for n in range(3)])
    kept = sqlite_ledger.bookings
    for slug, sid, provider_id in (("a-0", "b-0", "7"), ("a-1", "7", "8"), ("a-2", "b-2", None)):
        await kept.settle(report(slug, sid=sid, provider_id=provider_id))
    found = await kept.find_named("default", ["b-0", "7", "8", "b-2", "none"])
    assert {name: each.slug for name, each in found.items()} == {
        "b-0": "a-0", "7": "a-1", "8": "a-1", "b-2": "a-2",
    }  # fmt: skip
    assert set(await kept.find_named("default", ["8"])) == {"8"}
    assert await kept.find_named("other", ["b-0", "7"]) == {}
    assert await kept.find_named("default", []) == {}
    assert set(await kept.find("default", ["b-0", "none"])) == {"b-0"}
    assert await kept.find("other", ["b-0"]) == {}
    assert await kept.find("default", []) == {}
    assert await kept.get("default", "8") is None
    link = await sqlite_ledger.links.get("a-0")
    assert link is not None
    named = await kept.foremost(link)
    assert named is not None
    assert named.sid == "b-0"


async def test_a_report_is_stored_once_however_fine_it_is(sqlite_ledger: Ledger) -> None:
    """Times to the millisecond, texts that every database holds; asked again nothing changes."""
    await sqlite_ledger.links.record([claim("a-1", "ada")])
    fine = report(
        "a-1", made_at=NOW.replace(microsecond=123_999),
        changed_at=NOW.replace(microsecond=123_999),
        starts_at=NOW.replace(microsecond=999_999), manage_url="https://a.test/\x00",
    )  # fmt: skip
    first = await sqlite_ledger.bookings.settle(fine)
    assert first.state_before is State.CLAIMED
    again = await sqlite_ledger.bookings.settle(fine)
    assert again.state_before is State.CONSUMED
    assert (again.booking, again.link) == (first.booking, first.link)
    assert first.booking.made_at == NOW.replace(microsecond=123_000)
    assert first.booking.starts_at == NOW.replace(microsecond=999_000)
    assert first.booking.manage_url == "https://a.test/\ufffd"
    assert first.foremost == first.booking


async def test_bookings_of_an_erased_customer_keep_nothing_personal(sqlite_ledger: Ledger) -> None:
    """That holds for known bookings and for those reported later."""
    await sqlite_ledger.links.record([claim("a-1", "ada", email="ada@x.test")])
    said = {"email_key": "k", "manage_url": "https://a.test", "time_zone": "UTC"}
    await sqlite_ledger.bookings.settle(report("a-1", sid="b-1", **said))
    before = await sqlite_ledger.links.forget("intro", "ada", "name", MARKS)
    assert [link.customer_id for link in before] == ["ada"]
    await sqlite_ledger.bookings.settle(report("a-1", sid="b-2", **said))
    kept = await sqlite_ledger.bookings.of_link("a-1")
    assert len(kept) == 2
    assert [(each.email_key, each.manage_url, each.time_zone) for each in kept] == [
        (None, None, None)
    ] * 2
    assert {each.sid for each in kept} == {MARKS.pseudonym("default", "b-1"), "b-2"}


async def test_a_booking_that_is_renamed_to_a_known_one_becomes_that(sqlite_ledger: Ledger) -> None:
    """The facts of both are merged; another workspace's booking of that name is left alone."""
    await sqlite_ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob")])
    kept = sqlite_ledger.bookings
    await kept.settle(report("a-1", sid="old", starts_at=NOW))
    await kept.settle(report("a-1", "cancelled", sid="new", changed_at=NOW + SECOND))
    await kept.settle(report("a-2", sid="old", workspace="other"))

    def work(connection: Any) -> None:
        rename(connection, "default", "old", "new")
        rename(connection, "default", "unknown", "newer")

    await sqlite_ledger._database.write(work)
    [one] = await kept.of_link("a-1")
    assert (one.sid, one.state, one.stood_at) == ("new", "cancelled", NOW)
    assert await kept.get("default", "newer") is None
    assert (await kept.of_link("a-2"))[0].sid == "old"

    def work_again(connection: Any) -> None:
        rename(connection, "default", "new", "newest")

    await sqlite_ledger._database.write(work_again)
    assert [each.sid for each in await kept.of_link("a-1")] == ["newest"]


# -- links ---------------------------------------------------------------------------


async def test_a_link_is_replaced_for_its_own_customer_while_it_is_claimed(
    sqlite_ledger: Ledger,
) -> None:
    """It is replaced once, and a booked one is not."""
    await sqlite_ledger.links.record([claim("a-1", "ada"), claim("a-2", "ada")])
    await sqlite_ledger.bookings.settle(report("a-2"))
    replaced = sqlite_ledger.links.replaced
    assert not await replaced("a-1", "bob", "burnt", at=NOW)
    assert not await replaced("a-2", "ada", "burnt", at=NOW)
    assert await replaced("a-1", "ada", "burnt\x00", at=NOW + SECOND)
    assert not await replaced("a-1", "ada", "again", at=NOW)
    found = await sqlite_ledger.search.link("a-1")
    assert found is not None
    assert (found.link.state, found.replaced) == (State.RETIRED, (NOW + SECOND, "burnt\ufffd"))
    other = await sqlite_ledger.search.link("a-2")
    assert other is not None
    assert other.replaced is None
    await sqlite_ledger.links.insert_fresh([fresh("a-3")])
    await sqlite_ledger.links.move(["a-3"], State.RETIRED, at=NOW)
    drained = await sqlite_ledger.search.link("a-3")
    assert drained is not None
    assert (drained.withdrawn_at, drained.replaced) == (NOW, None)


async def test_at_most_a_hundred_claims_of_an_address_are_looked_at(sqlite_ledger: Ledger) -> None:
    """The latest first, and of equals by slug."""
    await sqlite_ledger.links.record(
        [
            claim(f"a-{n:03}", f"c{n}", email="a@x.test", claimed_at=NOW - (n // 2) * SECOND)
            for n in range(120)
        ]
    )
    found = await sqlite_ledger.links.given_to_email("intro", "A@x.test", by=NOW, until=NOW)
    assert [link.slug for link in found] == [f"a-{n:03}" for n in range(100)]
    known = await sqlite_ledger.links.known_emails({"A@x.test", "b@x.test"})
    assert known == {"A@x.test"}
    assert await sqlite_ledger.links.known_emails(set()) == set()


async def test_a_search_returns_the_last_moved_first_and_so_many_of_each_kind(
    sqlite_ledger: Ledger,
) -> None:
    """It finds slug, booking, customer or e-mail, in the meetings that the caller sees."""
    await sqlite_ledger.links.record(
        [
            claim("a-1", "ada@x.test", claimed_at=NOW),
            claim("a-2", "ada@x.test", claimed_at=NOW + 2 * SECOND),
            claim("a-3", "else", email="ADA@x.test", claimed_at=NOW + SECOND),
            claim("d-1", "ada@x.test", meeting_sid="demo"),
        ]
    )
    later = NOW + DAY
    await sqlite_ledger.bookings.settle(report("a-1", sid="b-1", made_at=later, changed_at=later))
    search = sqlite_ledger.search.links

    async def slugs(text: str, *sids: str, **how: Any) -> list[str]:
        return [each.link.slug for each in await search(text, sids or ("intro",), **how)]

    assert await slugs("ada@x.test") == ["a-1", "a-2", "a-3"]
    assert await slugs("ada@x.test", "intro", "demo") == ["a-1", "a-2", "a-3", "d-1"]
    assert len(await slugs("ada@x.test", limit=1)) == 2  # a customer's and an e-mail's
    assert await slugs("b-1") == ["a-1"]
    assert await slugs("a-3") == ["a-3"]
    assert await slugs("a-3", "demo") == []
    assert await slugs("nothing") == []


async def test_a_meeting_is_closed_by_the_provider_alone(sqlite_ledger: Ledger) -> None:
    """Settings that are put leave it closed; a seal is of a meeting that is known."""
    meetings = sqlite_ledger.meetings
    assert await meetings.put(Meeting("intro"))
    assert not await meetings.close("intro", "")
    assert await meetings.close("intro", "disabled")
    assert not await meetings.close("intro", "disabled")
    assert not await meetings.close("unknown", "disabled")
    assert not await meetings.put(Meeting("intro", min_fresh=7, closed_reason="else"))
    kept = await meetings.get("intro")
    assert kept is not None
    assert (kept.min_fresh, kept.closed_reason) == (7, "disabled")
    assert await meetings.close("intro", "gone")
    assert await meetings.close("intro", "")
    with pytest.raises(UnknownMeeting, match="unknown"):
        await meetings.seal("unknown", "token")
