"""Test the small steps of what the ledger deletes: what is pruned, and the erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from pool.errors import NotAssignable, UnknownEvent
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.forget import ERASING, UNHEARD
from pool.ledger.tables import erased_marks, forgotten, inbox, links
from pool.model.links import State
from pool.model.marks import Marks
from tests.integration.ledger_samples import NOW, TTL, claim, report

MARKS = Marks(b"secret key of the tests")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


# -- what is deleted -----------------------------------------------------------------


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
    """A waiting event stays, and one that may still be assigned keeps its body, too."""
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
    """A limited number of each state is blanked at a time."""
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


# -- the erased ----------------------------------------------------------------------


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
    """The link or one of its marks ties them; each is found once, and no other."""
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
    """Only this meeting changes: a claim lapses, a booking stays, and the audit loses its words."""
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
