"""Test searches of operators: for links, for the events about them, and through the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ledger_samples import MARKS, NOW, claim, fresh, report

from pool.errors import NotAssignable, UnknownEvent
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.inbox_search import Sought
from pool.model.links import State

pytest_plugins = ("ledger_fixtures",)


def event(event_id: str, **fields: Any) -> NewEvent:
    values: dict[str, Any] = {
        "id": event_id,
        "workspace": "default",
        "source": "webhook",
        "event": "booking_created",
        "body": b"{}",
        "received_at": NOW,
        "meeting_sid": "intro",
    }
    return NewEvent(**values | fields)


@pytest.fixture
async def filled(ledger: Ledger) -> Ledger:
    """Fill a ledger with two meetings; ada holds a link of both, bob's is booked."""
    await ledger.links.insert_fresh(
        [fresh(slug) for slug in ("a-1", "a-2", "a-3")] + [fresh("b-1", meeting_sid="demo")]
    )
    later = NOW + timedelta(minutes=5)
    await ledger.links.record(
        [
            claim("a-1", "ada", email="Ada@Example.com"),
            claim("a-2", "bob"),
            claim("b-1", "ada", meeting_sid="demo", claimed_at=later),
        ]
    )
    await ledger.bookings.settle(report("a-2", sid="bk-9"))
    return ledger


async def found(ledger: Ledger, text: str, *sids: str) -> list[str]:
    return [each.link.slug for each in await ledger.search.links(text, sids or ("intro", "demo"))]


async def test_links_are_found_by_what_is_at_hand(filled: Ledger) -> None:
    """A whole slug, customer id, booking or e-mail finds links, the one that moved last first."""
    assert await found(filled, "a-3") == ["a-3"]
    assert await found(filled, "ada") == ["b-1", "a-1"]
    assert await found(filled, "bk-9") == ["a-2"]
    assert await found(filled, "ada@example.COM") == ["a-1"]
    assert await found(filled, "ad") == []
    assert await found(filled, "\0' OR 1=1 --") == []


async def test_a_search_stays_within_the_meetings_it_is_for(filled: Ledger) -> None:
    """A link of another meeting is not found by any of its names."""
    assert await found(filled, "ada", "demo") == ["b-1"]
    assert await found(filled, "a-1", "demo") == []
    assert await found(filled, "bk-9", "demo") == []
    assert await filled.search.links("ada", ()) == []


async def test_a_link_says_when_it_was_withdrawn_or_forgotten(filled: Ledger) -> None:
    """The ledger alone knows these two times."""
    await filled.links.move(["a-3"], State.RETIRED, at=NOW)
    await filled.links.forget("intro", "ada", "name", MARKS)
    retired, erased = [await filled.search.link(slug) for slug in ("a-3", "a-1")]
    assert retired is not None
    assert erased is not None
    assert (retired.link.state, retired.withdrawn_at, retired.forgotten_at) == (
        State.RETIRED,
        NOW,
        None,
    )
    assert (erased.link.customer_id, erased.withdrawn_at) == (None, None)
    assert erased.forgotten_at is not None
    assert await filled.search.link("nobody") is None


async def test_a_links_events_are_those_matched_to_it_or_to_its_booking(filled: Ledger) -> None:
    """An unmatched event of the same booking is included, and one of another booking is not."""
    for event_id, booking_sid in (("e1", "bk-9"), ("e2", "bk-9"), ("e3", "bk-8")):
        await filled.inbox.add(event(event_id, booking_sid=booking_sid))
        await filled.inbox.finish(event_id, EventState.UNMATCHED)
    await filled.inbox.finish("e1", EventState.SETTLED, slug="a-2", match="slug")
    assert [each.id for each in await filled.inbox.of_link("a-2", "bk-9")] == ["e1", "e2"]
    assert [each.id for each in await filled.inbox.of_link("a-2", None)] == ["e1"]


async def test_events_are_listed_for_some_meetings_alone(filled: Ledger) -> None:
    """The link's meeting counts, or without a link the meeting that the event names."""
    await filled.inbox.add(event("e1"))
    await filled.inbox.add(event("e2", meeting_sid="somewhere"))
    await filled.inbox.add(event("e3", meeting_sid=None))
    await filled.inbox.finish("e2", EventState.SETTLED, slug="b-1", match="slug")

    async def listed(*sids: str, limit: int = 10, offset: int = 0) -> list[str]:
        found = await filled.inbox_search.page(Sought(), sids, limit=limit, offset=offset)
        return [each.id for each in found]

    assert await listed("intro") == ["e1"]
    assert await listed("demo") == ["e2"]
    assert await listed("somewhere") == []
    assert await listed("intro", "demo") == ["e1", "e2"]
    assert await listed("intro", "demo", limit=1, offset=1) == ["e2"]


async def test_an_event_is_assigned_to_one_link(filled: Ledger) -> None:
    """It is due at once and cannot be assigned to another link; a settled one stays unchanged."""
    await filled.inbox.add(event("e1"))
    await filled.inbox.finish("e1", EventState.UNMATCHED, reason="it names no link")
    for _ in range(2):
        given = await filled.inbox.assign("e1", "a-1")
        assert (given.state, given.slug, given.match) == (EventState.PENDING, "a-1", "assigned")
    assert [each.id for each in await filled.inbox.due(NOW)] == ["e1"]
    with pytest.raises(NotAssignable):
        await filled.inbox.assign("e1", "a-3")
    await filled.inbox.finish("e1", EventState.SETTLED, slug="a-1", match="assigned")
    assert (await filled.inbox.assign("e1", "a-1")).state is EventState.SETTLED
    with pytest.raises(NotAssignable):
        await filled.inbox.assign("e1", "a-3")
    with pytest.raises(UnknownEvent):
        await filled.inbox.assign("unknown", "a-1")


async def test_the_audit_is_read_page_by_page(ledger: Ledger) -> None:
    """The newest entries come first, and every entry is on exactly one page."""
    for number in range(5):
        await ledger.audit.add("ops", f"act-{number}")
    first = await ledger.audit.list(2)
    second = await ledger.audit.list(2, before_id=first[-1].id)
    third = await ledger.audit.list(2, before_id=second[-1].id)
    said = [entry.action for entry in (*first, *second, *third)]
    assert said == ["act-4", "act-3", "act-2", "act-1", "act-0"]


async def test_the_audit_is_filtered(ledger: Ledger) -> None:
    """Filters are a meeting, an actor, and the meetings that a key may see."""
    await ledger.audit.add("ops", "pause", "intro")
    await ledger.audit.add("ops", "pause", "demo")
    await ledger.audit.add("cli", "resume", "intro")
    await ledger.audit.add("cli", "key-create")

    async def acts(**filters: Any) -> list[tuple[str, str | None]]:
        return [(each.action, each.meeting_sid) for each in await ledger.audit.list(**filters)]

    assert await acts(meeting_sid="intro") == [("resume", "intro"), ("pause", "intro")]
    assert await acts(actor="ops") == [("pause", "demo"), ("pause", "intro")]
    assert await acts(actor="ops", meeting_sid="demo") == [("pause", "demo")]
    assert await acts(among=["demo"]) == [("pause", "demo")]
    assert await acts(among=["demo"], meeting_sid="intro") == []


async def test_the_audit_knows_what_was_done_to_events(ledger: Ledger) -> None:
    """It lists the replays and assignments of these events alone, the oldest first."""
    await ledger.audit.add("ops", "replay", None, "", {"event": "e1"})
    await ledger.audit.add("ops", "pause", "intro", "", {"event": "e1"})
    await ledger.audit.add("ops", "assign", "intro", "by phone", {"event": "e1", "slug": "a-1"})
    await ledger.audit.add("ops", "assign", "intro", "", {"event": "e2", "slug": "a-2"})
    acts = await ledger.audit.of_events(["e1"])
    assert [(each.action, each.reason) for each in acts] == [("replay", ""), ("assign", "by phone")]
    assert await ledger.audit.of_events([]) == []


async def test_events_are_found_by_what_they_and_their_links_name(filled: Ledger) -> None:
    """Id, booking, slug, customer and e-mail find them; lists have no bodies and begin with the
    newest.
    """
    e_mail = {"email_key": "k" * 32, "email_mark": "ab" * 8}
    for number, (event_id, fields) in enumerate(
        {
            "e1": {"booking_sid": "bk-9"},
            "e2": {"booking_sid": "bk-7", "workspace": "other", "event": "booking_cancelled"},
            "e3": {"marks": bytes.fromhex("cd" * 8 + "ab" * 8)},
            "e4": {"booking_sid": "bk-5", "meeting_sid": None, "body": b""},
        }.items()
    ):
        at = NOW + timedelta(minutes=number)
        await filled.inbox.add(event(event_id, received_at=at, **fields))
    await filled.inbox.finish("e1", EventState.SETTLED, slug="a-1", match="probable")
    await filled.bookings.settle(report("a-2", sid="bk-5", email_key="k" * 32))
    search = filled.inbox_search

    async def named(text: str, **more: str) -> list[str]:
        sought = Sought(named=await search.named(text, ("intro", "demo"), **more))
        page = await search.page(sought, None, limit=10)
        assert [each.body for each in page] == [b""] * len(page)
        assert await search.count(sought, None, most=10) == len(page)
        return [each.id for each in page]

    assert await named("e2") == await named("bk-7") == ["e2"]
    assert await named("a-1") == await named("ada") == await named("bk-9") == ["e1"]
    assert await named("Ada@Example.com", email_key="x", email_mark="00" * 8) == ["e1"]
    assert await named("zoe@x.test", **e_mail) == ["e4", "e3"]
    assert await named("nobody") == await named("\0' OR 1=1 --") == []
    assert not await search.named("nobody", ("intro", "demo"))

    async def found(among: list[str] | None = None, **fields: Any) -> list[str]:
        return [each.id for each in await search.page(Sought(**fields), among, limit=10)]

    assert await found() == ["e4", "e3", "e2", "e1"]
    assert await found(state=EventState.SETTLED) == ["e1"]
    assert await found(workspace="other") == await found(event="booking_cancelled") == ["e2"]
    assert await found(meeting_sid="intro") == await found(["intro"]) == ["e3", "e2", "e1"]
    assert await found(["demo"], meeting_sid="intro") == []
    first, third = NOW + timedelta(minutes=1), NOW + timedelta(minutes=3)
    assert await found(since=first, until=third) == ["e3", "e2"]
    assert [each.id for each in await search.page(Sought(), None, limit=2, offset=1)] == [
        "e3",
        "e2",
    ]
    assert await search.count(Sought(), None, most=2) == 3
    assert await search.kinds() == ["booking_cancelled", "booking_created"]
    assert [each.id for each in await search.latest_webhooks("other")] == ["e2"]


async def test_what_is_found_is_replayed_up_to_a_bound(filled: Ledger) -> None:
    """The oldest come first, and events without a body are left out."""
    for number, body in enumerate((b"{}", b"", b"{}", b"{}")):
        at = NOW + timedelta(minutes=number)
        await filled.inbox.add(event(f"e{number}", received_at=at, body=body))
        await filled.inbox.finish(f"e{number}", EventState.UNMATCHED)
    unmatched = Sought(EventState.UNMATCHED)
    assert await filled.inbox_search.replay(unmatched, most=2) == 2
    assert [each.id for each in await filled.inbox.due(NOW)] == ["e0", "e2"]
    assert await filled.inbox_search.replay(unmatched.before(NOW + timedelta(minutes=3))) == 0
    assert await filled.inbox_search.replay(unmatched) == 1
    assert [each.id for each in await filled.inbox.list(EventState.UNMATCHED)] == ["e1"]
