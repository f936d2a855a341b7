"""Test the ledger's small steps: outages, what is deleted, and which rows are meant."""

from __future__ import annotations

import sqlite3
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pool.errors import LedgerUnavailable, NotAssignable, UnknownEvent, UnknownMeeting
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.bookings import rename
from pool.ledger.failures import translated
from pool.ledger.forget import ERASING, UNHEARD
from pool.ledger.tables import erased_marks, forgotten, inbox, links
from pool.model.links import State
from pool.model.marks import Marks
from pool.model.meetings import Meeting
from tests.integration.ledger_samples import NOW, TTL, claim, fresh, report

MARKS = Marks(b"secret key of the tests")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)

# -- outages ----------------------------------------------------------------------------


def sqlstate(code: str) -> Exception:
    error = Exception("what the driver says")
    error.sqlstate = code  # type: ignore[attr-defined]
    return error


def sqlite(code: int) -> Exception:
    error = sqlite3.OperationalError("what the driver says")
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"SQLITE_{code}"
    return error


def raised(error: Exception, **more: Any) -> Exception:
    """Return what SQLAlchemy makes of a driver's error."""
    return DBAPIError("SELECT 1", {}, error, **more)


OUTAGES: dict[str, tuple[Exception, str]] = {
    **{
        f"SQLSTATE {code}": (raised(sqlstate(code)), f"(SQLSTATE {code})")
        for code in (
            "08006", "25006", "28P01", "3D000", "40P01", "53300", "55P03", "57P01", "58030",
            "42501",
        )
    },
    "a standby": (raised(sqlstate("25006")), "the ledger only reads"),
    "a full disk": (raised(sqlstate("53100")), "the ledger has a full disk"),
    "no connection left": (raised(sqlstate("53300")), "max_connections"),
    "a statement that took too long": (raised(sqlstate("57014")), "does not answer in time"),
    "no table, PostgreSQL": (raised(sqlstate("42P01")), "linkpool db upgrade"),
    "no table, SQLite": (
        raised(sqlite3.OperationalError("no such table: links")), "linkpool db upgrade",
    ),
    **{
        f"SQLite {code}": (raised(sqlite(code)), f"(SQLITE_{code})")
        for code in (
            sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
            sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH,
            sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY | 2 << 8, sqlite3.SQLITE_READONLY | 4 << 8,
        )
    },
    "a broken connection": (raised(Exception("?"), connection_invalidated=True), "broke"),
    "a closed connection": (raised(Exception("The Connection is closed")), "broke"),
    "no connection is free": (PoolTimeout("all taken"), "busy"),
    "too slow": (TimeoutError(), "in time"),
    "nobody there": (ConnectionRefusedError(111, "refused"), "cannot be reached"),
}  # fmt: skip

DEFECTS: dict[str, Exception] = {
    "a duplicate, PostgreSQL": raised(sqlstate("23505")),
    "bad syntax, PostgreSQL": raised(sqlstate("42601")),
    "a bad value, PostgreSQL": raised(sqlstate("22P02")),
    "a duplicate, SQLite": raised(sqlite(sqlite3.SQLITE_CONSTRAINT)),
    "bad syntax, SQLite": raised(sqlite(sqlite3.SQLITE_ERROR)),
    "a driver's own": raised(Exception("what is this")),
    "SQLAlchemy's own": InvalidRequestError("misused"),
    "an integrity error": IntegrityError("INSERT", {}, sqlstate("23505")),
    "ours": ValueError("naive"),
}


@pytest.mark.parametrize("case", OUTAGES)
def test_a_database_that_cannot_be_used_now_is_an_outage(case: str) -> None:
    """With a sentence that says why, and nothing of what the driver said."""
    error, says = OUTAGES[case]
    with pytest.raises(LedgerUnavailable) as found, translated():
        raise error
    assert says in str(found.value)
    assert "what the driver says" not in str(found.value)
    assert found.value.__cause__ is error


def untrusted(message: str) -> Exception:
    error = ssl.SSLCertVerificationError(1, "what the driver says")
    error.verify_message = message
    return error


REFUSED = {
    "an unknown authority": (untrusted("self-signed certificate"), "not trusted (self-signed"),
    "a server without TLS": (
        ConnectionError('PostgreSQL server at "what the driver says" rejected SSL upgrade'),
        "asks for TLS",
    ),
    "options at odds": (
        asyncpg.exceptions.ClientConfigurationError("what the driver says"),
        "that do not go together",
    ),
    "an option that is none": (
        asyncpg.PostgresSyntaxError("what the driver says"),
        "the server does not take",
    ),
    "an unknown setting": (
        asyncpg.UndefinedObjectError("what the driver says"),
        "the server does not take",
    ),
    "no such schema": (raised(sqlstate("3F000")), "names a schema"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_stays_so_until_the_address_is_mended_is_a_refusal(case: str) -> None:
    """A start ends there, with that sentence."""
    error, says = REFUSED[case]
    with pytest.raises(LedgerUnavailable) as found, translated():
        raise error
    assert says in found.value.refusal
    assert "what the driver says" not in found.value.refusal


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (asyncpg.CannotConnectNowError("what the driver says"), "starting or stopping"),
        (asyncpg.TooManyConnectionsError("what the driver says"), "no connection left"),
        (asyncpg.ObjectNotInPrerequisiteStateError("what the driver says"), "does not accept"),
        (asyncpg.ProtocolViolationError("what the driver says"), "SQLSTATE 08P01"),
        (asyncpg.InternalClientError("what the driver says"), "does not answer as PostgreSQL"),
        (asyncpg.InterfaceError("what the driver says"), "does not answer as PostgreSQL"),
    ],
)
def test_what_the_driver_meets_while_it_connects_is_an_outage(error: Exception, says: str) -> None:
    """A server that is just starting must not end a process that could wait for it."""
    with pytest.raises(LedgerUnavailable, match=says) as found, translated():
        raise error
    assert not found.value.refusal


def test_servers_of_another_kind_may_change_their_minds() -> None:
    """After a failover one of them is the primary."""
    none = asyncpg.exceptions.TargetServerAttributeNotMatched("what the driver says")
    with pytest.raises(LedgerUnavailable, match="target_session_attrs") as found, translated():
        raise none
    assert not found.value.refusal


@pytest.mark.parametrize("case", DEFECTS)
def test_a_defect_is_no_outage(case: str) -> None:
    """Trying it again would not help."""
    with pytest.raises(type(DEFECTS[case])) as found, translated():
        raise DEFECTS[case]
    assert found.value is DEFECTS[case]


# -- the oldest booking or claim that may change -------------------------------------------


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
    """Those that may come to stand, of this workspace, that were not over long ago."""
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
    """The provider's own, else since when it stood, else when it was heard of."""
    await sqlite_ledger.links.record([claim("a-1", "ada")])
    await sqlite_ledger.bookings.settle(report("a-1", ends_at=NOW, **fields))
    assert await sqlite_ledger.bookings.oldest_open("default", over_since=NOW - 9 * DAY) == since


async def test_which_claims_may_still_be_booked(sqlite_ledger: Ledger) -> None:
    """Those that are live, of this workspace's meetings; the oldest of all counts."""
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


# -- bookings by their names -----------------------------------------------------------------


async def test_a_booking_is_found_by_either_of_its_names(sqlite_ledger: Ledger) -> None:
    """Under the name asked for; of two that share it the one with that SID."""
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
    """Neither those that were known, nor those reported afterwards."""
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


# -- links ------------------------------------------------------------------------------


async def test_a_link_is_replaced_for_its_own_customer_while_it_is_claimed(
    sqlite_ledger: Ledger,
) -> None:
    """Once; a booked one is not."""
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
    """By slug, booking, customer or e-mail; only of the meetings that the caller sees."""
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


# -- what is deleted ---------------------------------------------------------------------


async def kept_events(ledger: Ledger) -> dict[str, bool]:
    """Return the events that are left, and whether they have a body."""
    return {each.id: bool(each.body) for each in await ledger.inbox.list(limit=1_000)}


async def add(ledger: Ledger, event_id: str, state: EventState, at: datetime) -> None:
    """Keep an event in this state that came at this time."""
    await ledger.inbox.add(
        NewEvent(event_id, "default", "webhook", "booked", b"{}", at, marks=b"m")
    )
    if state is EventState.DEAD:
        await ledger.inbox.failed(event_id, "?", not_before=at, max_attempts=1)
    elif state is not EventState.PENDING:
        await ledger.inbox.finish(event_id, state)


async def test_old_events_go_and_of_younger_ones_the_bodies(sqlite_ledger: Ledger) -> None:
    """Never one that waits; of those that a person may still assign not even the body."""
    now = datetime.now(UTC)
    for state in EventState:
        for name, days in (("old", 91), ("middle", 31), ("young", 29)):
            await add(sqlite_ledger, f"{state.value} {name}", state, now - days * DAY)
    done = await sqlite_ledger.retention.run(90, seconds=10)
    assert (done.events, done.bodies, done.more) == (4, 2, False)
    assert await kept_events(sqlite_ledger) == {
        "pending old": True, "pending middle": True, "pending young": True,
        "settled middle": False, "settled young": True,
        "ignored middle": False, "ignored young": True,
        "unmatched middle": True, "unmatched young": True,
        "dead middle": True, "dead young": True,
    }  # fmt: skip
    rows = await sqlite_ledger._database.rows(select(inbox.c.id, inbox.c.marks))
    assert {event_id for event_id, marks in rows if not marks} == {
        "settled middle",
        "ignored middle",
    }


async def test_events_are_deleted_so_many_at_a_time_the_oldest_first(sqlite_ledger: Ledger) -> None:
    """It says whether there is more; an event of that very moment stays."""
    for number in range(5):
        await add(sqlite_ledger, f"e{number}", EventState.SETTLED, NOW + number * SECOND)
    prune = sqlite_ledger.retention.prune
    done = await prune(events_before=NOW + 3 * SECOND, bodies_before=NOW, limit=2)
    assert (done.events, done.bodies, done.more) == (2, 0, True)
    assert set(await kept_events(sqlite_ledger)) == {"e2", "e3", "e4"}
    done = await prune(events_before=NOW + 3 * SECOND, bodies_before=NOW + 4 * SECOND, limit=2)
    assert (done.events, done.bodies, done.more) == (1, 1, False)
    assert await kept_events(sqlite_ledger) == {"e3": False, "e4": True}
    done = await prune(events_before=NOW, bodies_before=NOW + 9 * SECOND, limit=1)
    assert (done.events, done.bodies, done.more) == (0, 1, True)


async def test_the_oldest_bodies_are_blanked_first(sqlite_ledger: Ledger) -> None:
    """Of each state so many at a time."""
    for event_id, seconds in (("b", 2), ("c", 1), ("a", 3)):
        await add(sqlite_ledger, event_id, EventState.SETTLED, NOW + seconds * SECOND)
    for left in ({"a", "b"}, {"a"}, set()):
        done = await sqlite_ledger.retention.prune(
            events_before=NOW, bodies_before=NOW + 9 * SECOND, limit=1
        )
        assert (done.events, done.bodies, done.more) == (0, 1, True)
        assert {name for name, body in (await kept_events(sqlite_ledger)).items() if body} == left


@pytest.mark.parametrize(("seconds", "batches"), [(0.0, 1), (60.0, 3)])
async def test_pruning_ends_in_time(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seconds: float, batches: int
) -> None:
    """It says that there is more; the next run goes on."""
    now, clock = datetime.now(UTC), [100.0]
    for number in range(5):
        await add(sqlite_ledger, f"e{number}", EventState.SETTLED, now - 100 * DAY)
    prune, calls = sqlite_ledger.retention.prune, []

    async def some(**how: Any) -> Any:
        calls.append(how)
        clock[0] += 1
        return await prune(**how, limit=2)

    monkeypatch.setattr(sqlite_ledger.retention, "prune", some)
    monkeypatch.setattr("pool.ledger.retention.time.monotonic", lambda: clock[0])
    done = await sqlite_ledger.retention.run(90, seconds=seconds)
    assert len(calls) == batches
    assert (done.events, done.more) == ((2, True) if batches == 1 else (5, False))
    assert abs(calls[0]["events_before"] - (now - 90 * DAY)) < 9 * SECOND
    assert abs(calls[0]["bodies_before"] - (now - 30 * DAY)) < 9 * SECOND


# -- the erased ----------------------------------------------------------------------------


async def erased_rows(ledger: Ledger) -> None:
    """Keep some forgotten links, and marks of two of them."""
    stages = {"a-1": ERASING, "a-2": UNHEARD, "a-3": None, "b-1": ERASING}
    rows = [
        {
            "slug": slug, "meeting_sid": "demo" if slug == "b-1" else "intro",
            "customer_name": "ben" if slug == "a-3" else "ann",
            "forgotten_at": NOW + n * SECOND, "stage": stage,
        }
        for n, (slug, stage) in enumerate(stages.items())
    ]  # fmt: skip
    marks = [
        {"slug": slug, "mark": mark, "erased_at": NOW}
        for slug, mark in (("a-1", "0a"), ("a-1", "0b"), ("a-2", "0b"))
    ]

    def work(connection: Any) -> None:
        connection.execute(insert(forgotten), rows)
        connection.execute(insert(erased_marks), marks)

    await ledger._database.write(work)


async def test_how_far_erasing_has_come_is_known_by_link(sqlite_ledger: Ledger) -> None:
    """A link is known while it is not erased everywhere, and while nobody was informed of it."""
    erased = sqlite_ledger.erased
    assert await erased.last_at() is None
    await erased_rows(sqlite_ledger)
    assert await erased.last_at() == NOW + 3 * SECOND
    assert [each.slug for each in await erased.unfinished()] == ["a-1", "b-1"]
    assert [each.slug for each in await erased.unfinished(1)] == ["a-1"]
    mine = await erased.of_customer("intro", "ann")
    assert [(each.slug, each.stage, each.customer_name) for each in mine] == [
        ("a-1", ERASING, "ann"), ("a-2", UNHEARD, "ann"),
    ]  # fmt: skip
    assert await erased.of_customer("intro", "ben") == []
    await erased.finish(["a-1", "a-3"], heard=False)
    assert [each.stage for each in await erased.of_customer("intro", "ann")] == [UNHEARD] * 2
    await erased.finish(["a-1", "a-2"], heard=True)
    assert await erased.of_customer("intro", "ann") == []
    assert await erased.of_customer("intro", "ben") == []
    assert [each.slug for each in await erased.unfinished()] == ["b-1"]


async def test_marks_lead_to_the_links_of_the_erased(sqlite_ledger: Ledger) -> None:
    """Each to all that hold it; a new one makes its link unfinished again."""
    erased = sqlite_ledger.erased
    await erased_rows(sqlite_ledger)
    assert await erased.among(["0a", "0b", "0c"]) == {"0a": {"a-1"}, "0b": {"a-1", "a-2"}}
    assert await erased.among([]) == {}
    assert await erased.slugs_among(["a-1", "a-3", "a-9"]) == {"a-1", "a-3"}
    assert await erased.slugs_among([]) == set()
    assert not await erased.keep("a-2", MARKS, {"0b"})
    assert [each.slug for each in await erased.unfinished()] == ["a-1", "b-1"]
    assert await erased.keep("a-2", MARKS, {"0b", "0d"})
    assert [each.slug for each in await erased.unfinished()] == ["a-1", "a-2", "b-1"]
    assert not await erased.keep("a-2", MARKS, set())


async def test_held_ids_and_addresses_are_reported(sqlite_ledger: Ledger) -> None:
    """Another mailbox that an older release could not tell apart is not held."""
    await sqlite_ledger.links.record(
        [
            claim("a-1", "ada-4711", email="Ada@x.test"),
            claim("a-2", "bob", email="stra\u00dfe@x.test"),
        ]
    )
    held = sqlite_ledger.erased.held
    texts = ["ada@X.test", "ada-4711", "bob", "cyd", "strasse@x.test", "STRA\u00dfE@x.test"]
    assert await held(texts) == {"ada@X.test", "ada-4711", "bob", "STRA\u00dfE@x.test"}
    assert await held([]) == set()
    old_key = update(links).where(links.c.slug == "a-2").values(email_key="strasse@x.test")
    await sqlite_ledger._database.change(old_key)
    assert await held(texts) == {"ada@X.test", "ada-4711", "bob", "STRA\u00dfE@x.test"}


async def test_events_tied_to_an_erased_link_are_found_page_by_page(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the link, or by any of its marks; none twice, and none that is not tied."""
    monkeypatch.setattr("pool.ledger.erased._SCAN", 4)
    monkeypatch.setattr("pool.ledger.erased._PAGE", 2)
    await erased_rows(sqlite_ledger)
    expected = set()
    for number in range(11):
        marks = (b"\x01\x0a", b"\x0b", b"\x01\x02", b"")[number % 4]
        event = NewEvent(f"e{number:02}", "default", "webhook", "x", b"{}", NOW, marks=marks)
        await sqlite_ledger.inbox.add(event)
        expected |= {event.id} if number % 4 < 2 else set()
    await sqlite_ledger.inbox.finish("e02", EventState.SETTLED, slug="a-1")
    await sqlite_ledger.inbox.finish("e06", EventState.SETTLED, slug="a-2")
    pages = [page async for page in sqlite_ledger.erased.tied("a-1")]
    found = [each.id for page in pages for each in page]
    assert sorted(found) == sorted(expected | {"e02"})
    assert all(1 <= len(page) <= 2 for page in pages)
    assert max(len(page) for page in pages) == 2


async def test_events_without_marks_are_given_them_once(sqlite_ledger: Ledger) -> None:
    """Marks that are there stay; an event is redacted as a whole."""
    erased = sqlite_ledger.erased
    for event_id, marks in (("e1", None), ("e2", b"old"), ("e3", None)):
        new = NewEvent(event_id, "default", "webhook", "x", b"{}", NOW, "b", "m", marks, "p")
        await sqlite_ledger.inbox.add(new)
    assert {each.id for each in await erased.unmarked()} == {"e1", "e3"}
    assert len(await erased.unmarked(1)) == 1
    await erased.mark({"e1": b"new", "e2": b"new"})
    assert [each.id for each in await erased.unmarked()] == ["e3"]
    rows = await sqlite_ledger._database.rows(select(inbox.c.id, inbox.c.marks))
    assert dict(tuple(row) for row in rows) == {"e1": b"new", "e2": b"old", "e3": None}
    await sqlite_ledger.inbox.failed("e2", "of ada", not_before=NOW)
    await erased.redact("e2", b"less", "other", None)
    kept = await sqlite_ledger.inbox.get("e2")
    assert kept is not None
    assert (kept.body, kept.booking_sid, kept.last_error) == (b"less", "other", None)
    rows = await sqlite_ledger._database.rows(select(inbox.c.marks).where(inbox.c.id == "e2"))
    assert [marks for (marks,) in rows] == [b""]
    assert (await erased.unmarked())[0].body == b"{}"


async def test_forgotten_customers_leave_nothing_but_names(sqlite_ledger: Ledger) -> None:
    """Of this meeting alone; a claim lapses, a booking stays, the audit forgets what it wrote."""
    await sqlite_ledger.links.record(
        [
            claim("a-1", "ada-4711", email="ada@x.test", metadata={"n": 1}),
            claim("a-2", "ada-4711"),
            claim("a-3", "bob-4712"),
            claim("d-1", "ada-4711", meeting_sid="demo"),
        ]
    )
    await sqlite_ledger.bookings.settle(report("a-2", sid="b-2"))
    await sqlite_ledger.audit.add("ops", "replace", "intro", "for ADA-4711", {"slug": "a-1"})
    await sqlite_ledger.audit.add("ops", "pause", "intro", "lunch", {"who": "ada@x.test"})
    await sqlite_ledger.audit.add("ops", "pause", "intro", "for bob-4712")
    await sqlite_ledger.inbox.add(NewEvent("e1", "default", "webhook", "x", b"{}", NOW, "b-2"))
    await sqlite_ledger.inbox.finish("e1", EventState.SETTLED, slug="a-2")
    before = await sqlite_ledger.links.forget(
        "intro", "ada-4711", "the name", MARKS, lambda event: {f"mark of {event.id}"}
    )
    assert [(link.slug, link.state) for link in before] == [
        ("a-1", State.CLAIMED), ("a-2", State.CONSUMED),
    ]  # fmt: skip
    for slug, state in (("a-1", State.LAPSED), ("a-2", State.CONSUMED)):
        link = await sqlite_ledger.links.get(slug)
        assert link is not None
        assert (link.state, link.customer_id, link.email, link.metadata) == (
            state,
            None,
            None,
            None,
        )
    for slug in ("a-3", "d-1"):
        link = await sqlite_ledger.links.get(slug)
        assert link is not None
        assert (link.state, link.customer_id is None) == (State.CLAIMED, False)
    names = await sqlite_ledger.links.forgotten("intro")
    assert [(each.slug, each.customer_name) for each in names] == [
        ("a-1", "the name"), ("a-2", "the name"),
    ]  # fmt: skip
    assert [each.slug for each in await sqlite_ledger.links.forgotten("intro", after="a-1")] == [
        "a-2"
    ]
    assert len(await sqlite_ledger.links.forgotten("intro", limit=1)) == 1
    assert await sqlite_ledger.links.forgotten("demo") == []
    said = [(each.reason, each.detail) for each in await sqlite_ledger.audit.list()]
    assert said == [("for bob-4712", {}), ("(erased)", {}), ("(erased)", {})]
    event = await sqlite_ledger.inbox.get("e1")
    assert event is not None
    assert (event.body, event.booking_sid) == (b"", MARKS.pseudonym("default", "b-2"))
    marks = await sqlite_ledger.erased.among(
        ["mark of e1", MARKS.of_text("ada-4711"), MARKS.of_email("ada@x.test"),
         MARKS.of_text("a-1"), MARKS.of_booking("default", "b-2")]
    )  # fmt: skip
    assert {slug for slugs in marks.values() for slug in slugs} == {"a-1", "a-2"}
    assert marks[MARKS.of_email("ada@x.test")] == {"a-1"}
    assert marks["mark of e1"] == {"a-2"}
    assert marks[MARKS.of_booking("default", "b-2")] == {"a-2"}
    assert await sqlite_ledger.links.forget("intro", "ada-4711", "the name", MARKS) == []
    done = await sqlite_ledger.links.record([claim("a-1", "ada-4711", lapses_at=NOW + TTL)])
    assert [each.slug for each in done.forgotten] == ["a-1"]


async def test_every_name_of_an_erased_customers_bookings_becomes_a_pseudonym(
    sqlite_ledger: Ledger,
) -> None:
    """Its own, its parent's and the provider's id; those of other links keep theirs."""
    await sqlite_ledger.links.record([claim("a-1", "ada"), claim("a-2", "bob")])
    for slug, sid in (("a-1", "b-1"), ("a-2", "b-2")):
        await sqlite_ledger.bookings.settle(
            report(slug, sid=sid, parent_sid="p-1", provider_id="id-1")
        )
    await sqlite_ledger.links.forget("intro", "ada", "name", MARKS)

    def named(sid: str) -> str:
        return MARKS.pseudonym("default", sid)

    [theirs] = await sqlite_ledger.bookings.of_link("a-1")
    assert (theirs.sid, theirs.parent_sid, theirs.provider_id) == (
        named("b-1"), named("p-1"), named("id-1"),
    )  # fmt: skip
    [other] = await sqlite_ledger.bookings.of_link("a-2")
    assert (other.sid, other.parent_sid, other.provider_id) == ("b-2", "p-1", "id-1")
    link = await sqlite_ledger.links.get("a-1")
    assert link is not None
    assert link.booking_sid == named("b-1")


async def test_bindings_come_page_by_page_in_the_order_of_their_claims(
    sqlite_ledger: Ledger,
) -> None:
    """The newest last, whatever the slugs are; of equals by slug; each once."""
    made = [("z", 3), ("y", 1), ("x", 2), ("w", 2), ("v", 0), ("u", 3)]
    await sqlite_ledger.links.record(
        [claim(slug, slug, claimed_at=NOW + n * SECOND) for slug, n in made]
    )
    await sqlite_ledger.links.record([claim("other", "ann", meeting_sid="elsewhere")])
    for batch in (1, 2, 5, 6, 7):
        pages = [page async for page in sqlite_ledger.links.live_bindings("intro", batch=batch)]
        assert [each.slug for page in pages for each in page] == ["v", "y", "w", "x", "u", "z"]
        assert max(map(len, pages)) <= batch


async def test_an_assignment_reports_its_outcome(sqlite_ledger: Ledger) -> None:
    """Assigned, settled with this link already, another link's, or not there."""
    for name in ("one", "two"):
        await sqlite_ledger.inbox.add(NewEvent(name, "default", "webhook", "booked", b"{}", NOW))
    await sqlite_ledger.inbox.finish("two", EventState.SETTLED, slug="a-2", match="slug")
    one = await sqlite_ledger.inbox.assign("one", "a-1")
    assert (one.state, one.slug, one.match) == (EventState.PENDING, "a-1", "assigned")
    two = await sqlite_ledger.inbox.assign("two", "a-2")
    assert (two.state, two.slug, two.match) == (EventState.SETTLED, "a-2", "slug")
    with pytest.raises(NotAssignable):
        await sqlite_ledger.inbox.assign("two", "a-1")
    with pytest.raises(UnknownEvent):
        await sqlite_ledger.inbox.assign("three", "a-1")
