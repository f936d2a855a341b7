"""Test the ledger's small print: bounds, orders, and which rows are meant."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pool.access.api_keys import Scope, digest, issue_key, revoke_key
from pool.errors import UnknownKey
from pool.ledger import Ledger
from pool.ledger.records import RecordedClaim
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from tests.integration.ledger_samples import report

NOW = datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fresh(slug: str, sid: str = "intro", **fields: Any) -> Link:
    values: dict[str, Any] = {
        "slug": slug, "url": f"https://a.example/{slug}", "meeting_sid": sid,
        "state": State.FRESH, "source": "pool", "epoch": "e1", "created_at": NOW,
    }  # fmt: skip
    return Link(**values | fields)


def claim(slug: str, who: str, sid: str = "intro", **fields: Any) -> RecordedClaim:
    values: dict[str, Any] = {
        "slug": slug, "url": f"https://a.example/{slug}", "meeting_sid": sid, "customer_id": who,
        "email": None, "metadata": None, "source": "pool", "claimed_at": NOW,
        "lapses_at": NOW + timedelta(days=30),
    }  # fmt: skip
    return RecordedClaim(**values | fields)


async def state(ledger: Ledger, slug: str) -> State:
    link = await ledger.links.get(slug)
    assert link is not None
    return link.state


def raw(sqlite_url: str, statement: str) -> list[tuple[Any, ...]]:
    """Return what really stands in the file."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as file:
        return file.execute(statement).fetchall()


# -- links ------------------------------------------------------------------------------


async def test_of_a_slug_given_twice_the_first_is_written(sqlite_ledger: Ledger) -> None:
    """The first is written with all its fields."""
    first, second = fresh("a-1", source="direct"), fresh("a-1", sid="demo", epoch="e2")
    assert await sqlite_ledger.links.insert_fresh([first, second]) == {"a-1"}
    assert await sqlite_ledger.links.get("a-1") == first
    assert await sqlite_ledger.links.insert_fresh([second, fresh("a-2")]) == {"a-2"}
    assert await sqlite_ledger.links.get("a-1") == first
    assert await sqlite_ledger.links.insert_fresh([]) == set()


async def test_claims_lapse_in_order_and_no_more_than_asked(sqlite_ledger: Ledger) -> None:
    """The earliest first; one whose time is over this very moment still holds."""
    times = {"late": 3, "early": 1, "middle": 2, "now": 10, "later": 20}
    await sqlite_ledger.links.record(
        [claim(slug, slug, lapses_at=NOW + n * SECOND) for slug, n in times.items()]
    )
    at = NOW + 10 * SECOND
    assert (await sqlite_ledger.links.lapse(at, 2)).total() == 2
    assert [await state(sqlite_ledger, slug) for slug in ("early", "middle", "late")] == [
        State.LAPSED, State.LAPSED, State.CLAIMED,
    ]  # fmt: skip
    assert (await sqlite_ledger.links.lapse(at)).total() == 1
    assert await state(sqlite_ledger, "now") is State.CLAIMED
    assert (await sqlite_ledger.links.lapse(at)).total() == 0


async def test_fresh_links_before_a_moment_oldest_first(sqlite_ledger: Ledger) -> None:
    """They are this meeting's alone, and no more than were asked for."""
    await sqlite_ledger.links.insert_fresh(
        [fresh(f"a-{n}", created_at=NOW + n * SECOND) for n in (3, 1, 2, 4)]
        + [fresh("b-1", sid="demo")]
    )
    await sqlite_ledger.links.record([claim("a-1", "ann")])
    found = await sqlite_ledger.links.fresh("intro", before=NOW + 4 * SECOND, limit=10)
    assert [link.slug for link in found] == ["a-2", "a-3"]
    found = await sqlite_ledger.links.fresh("intro", before=NOW + 5 * SECOND, limit=2)
    assert [link.slug for link in found] == ["a-2", "a-3"]


async def test_counts_are_by_meeting_and_state(sqlite_ledger: Ledger) -> None:
    """A meeting without links has no counts."""
    await sqlite_ledger.links.insert_fresh(
        [fresh("a-1"), fresh("a-2"), fresh("a-3"), fresh("b-1", sid="demo")]
    )
    await sqlite_ledger.links.record([claim("a-1", "ann")])
    assert await sqlite_ledger.counts.all() == {
        "intro": {State.FRESH: 2, State.CLAIMED: 1}, "demo": {State.FRESH: 1},
    }  # fmt: skip
    assert await sqlite_ledger.counts.of("intro") == {State.FRESH: 2, State.CLAIMED: 1}
    assert await sqlite_ledger.counts.of("none") == {}
    assert await sqlite_ledger.links.fresh_of(["intro", "none"]) == {"intro": 2}
    assert await sqlite_ledger.counts.of("intro")
    assert not await sqlite_ledger.counts.of("none")


async def test_what_is_set_aside_is_so_since_a_time(sqlite_ledger: Ledger, sqlite_url: str) -> None:
    """It is every fresh link of this meeting, of any epoch."""
    await sqlite_ledger.links.insert_fresh(
        [fresh("a-1"), fresh("a-2", epoch="e2"), fresh("a-3"), fresh("b-1", sid="demo")]
    )
    await sqlite_ledger.links.record([claim("a-3", "ann")])
    assert await sqlite_ledger.links.quarantine_fresh("intro", at=NOW) == 2
    assert await state(sqlite_ledger, "a-1") is State.QUARANTINED
    assert await state(sqlite_ledger, "a-2") is State.QUARANTINED
    assert await sqlite_ledger.links.quarantine_fresh("intro", at=NOW) == 0
    assert await state(sqlite_ledger, "a-3") is State.CLAIMED
    assert await state(sqlite_ledger, "b-1") is State.FRESH
    assert await sqlite_ledger.links.move(["b-1", "a-3"], State.RETIRED, at=NOW) == ["b-1"]
    times = dict(raw(sqlite_url, "select slug, withdrawn_at from links"))
    assert [slug for slug, at in times.items() if at is None] == ["a-3"]
    assert len({times[slug] for slug in ("a-1", "a-2", "b-1")}) == 1
    assert await sqlite_ledger.links.move([], State.RETIRED, at=NOW) == []


async def test_a_customer_claim_is_the_latest_that_holds(sqlite_ledger: Ledger) -> None:
    """The claim is of this meeting; neither a cancelled nor a lapsed one counts."""
    await sqlite_ledger.links.record(
        [
            claim("a-1", "ann", claimed_at=NOW + 1 * SECOND),
            claim("a-2", "ann", claimed_at=NOW + 2 * SECOND),
            claim("a-3", "ann", claimed_at=NOW + 3 * SECOND, lapses_at=NOW + 4 * SECOND),
            claim("a-9", "ben", claimed_at=NOW + 9 * SECOND),
            claim("b-1", "ann", sid="demo", claimed_at=NOW + 9 * SECOND),
        ]
    )
    held = await sqlite_ledger.links.claim_of("intro", "ann")
    assert held is not None
    assert held.slug == "a-3"
    await sqlite_ledger.links.lapse(NOW + 5 * SECOND)
    held = await sqlite_ledger.links.claim_of("intro", "ann")
    assert held is not None
    assert held.slug == "a-2"
    assert await sqlite_ledger.links.claim_of("intro", "zoe") is None


async def test_a_link_is_its_first_customers(sqlite_ledger: Ledger) -> None:
    """The second customer is reported, within a batch and over batches, in either order."""
    await sqlite_ledger.links.insert_fresh([fresh("a-1"), fresh("a-2")])
    done = await sqlite_ledger.links.record(
        [claim("a-1", "ann"), claim("a-1", "ben"), claim("a-1", "ann"), claim("new", "ann")]
    )
    assert done.written == 2
    assert [each.customer_id for each in done.conflicts] == ["ben"]
    done = await sqlite_ledger.links.record([claim("new", "ben"), claim("a-2", "zoe")])
    assert done.written == 1
    assert [(each.slug, each.customer_id) for each in done.conflicts] == [("new", "ben")]
    done = await sqlite_ledger.links.record([claim("a-1", "ann")])
    assert (done.written, done.conflicts, done.settled) == (0, (), ())


async def test_a_claim_that_comes_late_is_the_truth(sqlite_ledger: Ledger) -> None:
    """A late claim counts for a link that was set aside or retired; a booking before it stays and
    is reported.
    """
    await sqlite_ledger.links.insert_fresh([fresh("a-1"), fresh("a-2"), fresh("a-3")])
    await sqlite_ledger.links.move(["a-1"], State.QUARANTINED, at=NOW)
    await sqlite_ledger.links.move(["a-2"], State.RETIRED, at=NOW)
    await sqlite_ledger.bookings.settle(report("a-3"))
    done = await sqlite_ledger.links.record([claim(f"a-{n}", f"c{n}") for n in (1, 2, 3)])
    assert done.written == 3
    assert [await state(sqlite_ledger, f"a-{n}") for n in (1, 2, 3)] == [
        State.CLAIMED, State.CLAIMED, State.CONSUMED,
    ]  # fmt: skip
    assert [(link.slug, link.customer_id) for link in done.settled] == [("a-3", "c3")]


# -- seals, facts, audit, keys ---------------------------------------------------------------


async def test_a_seal_is_its_meetings_and_spent_with_its_links(sqlite_ledger: Ledger) -> None:
    """A wrong or another meeting's token spends nothing."""
    for sid in ("intro", "demo"):
        await sqlite_ledger.meetings.put(Meeting(sid))
        await sqlite_ledger.meetings.seal(sid, f"token-{sid}")
        await sqlite_ledger.links.insert_fresh([fresh(f"{sid}-1", sid=sid)])
    spend = sqlite_ledger.meetings.spend_seal
    assert not await spend("intro", "token-demo", "e2")
    assert await spend("intro", "token-intro", "e2")
    assert not await spend("intro", "token-intro", "e3")
    epochs = {
        link.slug: link.epoch for link in await sqlite_ledger.links.find(["intro-1", "demo-1"])
    }
    assert epochs == {"intro-1": "e2", "demo-1": "e1"}
    assert await spend("demo", "token-demo", "e4")


async def test_facts_are_found_by_how_they_begin(sqlite_ledger: Ledger) -> None:
    """Facts are found to the letter; the first to keep one decides, and put changes it."""
    facts = sqlite_ledger.facts
    for name, value in (("opened:a", "1"), ("opened:b", "2"), ("openedXa", "3"), ("o%", "4")):
        await facts.put(name, value)
    assert await facts.beginning_with("opened:") == {"a": "1", "b": "2"}
    assert await facts.beginning_with("o%") == {"": "4"}
    assert await facts.keep("opened:a", "9") == "1"
    assert await facts.keep("new", "9") == "9"
    await facts.put("opened:a", "7")
    assert await facts.get("opened:a") == "7"
    assert await facts.get("none") is None


async def test_the_audit_is_read_page_by_page(sqlite_ledger: Ledger) -> None:
    """The newest first; by meeting, by actor, among some meetings."""
    audit = sqlite_ledger.audit
    await audit.add("ann", "pause", "intro", "lunch", {"n": 1})
    await audit.add("ben", "pause", "demo")
    await audit.add("ann", "resume", "intro")
    await audit.add("ann", "key-create")
    actions = [(each.actor, each.action, each.meeting_sid) for each in await audit.list()]
    assert actions == [
        ("ann", "key-create", None), ("ann", "resume", "intro"),
        ("ben", "pause", "demo"), ("ann", "pause", "intro"),
    ]  # fmt: skip
    first = await audit.list(2)
    assert [each.action for each in first] == ["key-create", "resume"]
    rest = await audit.list(10, before_id=first[-1].id)
    assert [each.meeting_sid for each in rest] == ["demo", "intro"]
    assert (rest[-1].reason, rest[-1].detail) == ("lunch", {"n": 1})
    assert [each.action for each in await audit.list(meeting_sid="intro")] == ["resume", "pause"]
    assert [each.meeting_sid for each in await audit.list(actor="ben")] == ["demo"]
    assert [each.meeting_sid for each in await audit.list(among=["demo"])] == ["demo"]
    assert await audit.list(among=[]) == []


async def test_what_people_did_to_events_is_found_by_event(sqlite_ledger: Ledger) -> None:
    """The oldest first, and nothing else that names an event."""
    audit = sqlite_ledger.audit
    await audit.add("ann", "assign", "intro", "", {"event": "e-1"})
    await audit.add("ann", "replay", "intro", "", {"event": "e-2"})
    await audit.add("ann", "pause", "intro", "", {"event": "e-1"})
    await audit.add("ben", "replay", "intro", "", {"event": "e-1"})
    assert [each.action for each in await audit.of_events(["e-1"])] == ["assign", "replay"]
    assert [each.action for each in await audit.of_events(["e-1", "e-2"])] == [
        "assign", "replay", "replay",
    ]  # fmt: skip
    assert await audit.of_events([]) == []


async def test_a_key_is_issued_and_revoked_with_a_note(sqlite_ledger: Ledger) -> None:
    """The note names actor and key; the key itself stands nowhere. A key is revoked once."""
    clear, kept = await issue_key(
        sqlite_ledger, frozenset({Scope.READ.value, Scope.CLAIM.value}), frozenset({"b", "a"}),
        "the shop", "ann",
    )  # fmt: skip
    [row] = await sqlite_ledger.keys.all()
    assert (row.id, row.digest, row.scopes, row.meetings, row.label) == (
        kept.id, kept.digest, {"read", "claim"}, {"a", "b"}, "the shop",
    )  # fmt: skip
    assert kept.digest == digest(clear.encode())
    await issue_key(sqlite_ledger, frozenset({Scope.ADMIN.value}), None, "", "ann")
    await revoke_key(sqlite_ledger, kept.id, "ben", "leaked")
    with pytest.raises(UnknownKey):
        await revoke_key(sqlite_ledger, kept.id, "ben", "again")
    notes = await sqlite_ledger.audit.list()
    assert [(each.actor, each.action, each.reason) for each in notes] == [
        ("ben", "key-revoke", "leaked"),
        ("ann", "key-create", ""),
        ("ann", "key-create", "the shop"),
    ]  # fmt: skip
    assert notes[0].detail == {"id": kept.id}
    assert notes[2].detail == {"id": kept.id, "scopes": ["claim", "read"], "meetings": ["a", "b"]}
    assert "meetings" not in notes[1].detail
    by_id = {key.id: key.revoked_at for key in await sqlite_ledger.keys.all()}
    assert by_id.pop(kept.id) is not None
    assert list(by_id.values()) == [None]
