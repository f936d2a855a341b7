"""Test the inbox exactly: whole rows, orders, and due times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from pool.errors import UnknownEvent
from pool.ledger import EventState, Ledger, NewEvent
from pool.ledger.inbox_search import Sought
from pool.ledger.tables import inbox
from tests.integration.ledger_samples import NOW

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


def event(event_id: str, **fields: Any) -> NewEvent:
    values: dict[str, Any] = {
        "workspace": "default", "source": "webhook", "event": "booked", "body": b"{}",
        "received_at": NOW,
    }  # fmt: skip
    return NewEvent(event_id, **values | fields)


async def test_only_its_own_changes_change_an_event(
    sqlite_ledger: Ledger,
) -> None:
    """The whole row is compared after each change, and no other event changes."""
    box = sqlite_ledger.inbox
    made = event(
        "e1", event="boo\x00ked", booking_sid="b\x00", meeting_sid="m\x00", parent_sid="p\x00",
        marks=b"mm",
    )  # fmt: skip
    other, _ = await box.add(event("other"))
    kept, new = await box.add(made)
    assert new
    assert (kept.event, kept.booking_sid) == ("boo\ufffdked", "b\ufffd")
    assert (kept.meeting_sid, kept.parent_sid) == ("m\ufffd", "p\ufffd")
    rows = await sqlite_ledger._database.rows(select(inbox.c.marks).where(inbox.c.id == "e1"))
    assert rows[0].marks == b"mm"
    later = NOW + MINUTE
    assert await box.failed("e1", "x\x00" + "y" * 2_000, not_before=later, max_attempts=3) == 1
    kept = replace(kept, attempts=1, last_error="x\ufffd" + "y" * 998, not_before=later)
    assert await box.get("e1") == kept
    assert await box.failed("e1", "away", not_before=NOW, max_attempts=1, its_fault=False) == 1
    assert (await box.get("e1")) == replace(
        kept, last_error="away", not_before=NOW, state=EventState.DEAD
    )
    kept = replace(kept, attempts=0, last_error=None, not_before=None)
    assert await box.retry("e1") == kept == await box.get("e1")
    assert await box.failed("e1", "away", not_before=NOW, max_attempts=2, its_fault=False) == 0
    assert await box.failed("e1", "bad", not_before=NOW, max_attempts=2) == 1
    assert (await box.due(NOW))[0].id == "e1"
    before = datetime.now(UTC)
    await box.finish(
        "e1", EventState.UNMATCHED, slug="a\x00", match="slug", reason="r\x00", not_before=later
    )
    done = await box.get("e1")
    assert done is not None
    assert done.settled_at is not None
    assert before - SECOND < done.settled_at < before + MINUTE
    assert done == replace(
        kept, state=EventState.UNMATCHED, slug="a\ufffd", match="slug", reason="r\ufffd",
        not_before=later, settled_at=done.settled_at, attempts=1, last_error="bad",
    )  # fmt: skip
    with pytest.raises(UnknownEvent, match="e1"):
        await box.failed("e1", "late", not_before=NOW)
    await box.finish("e1", EventState.IGNORED)
    done = await box.get("e1")
    assert done is not None
    assert (done.slug, done.match, done.reason, done.not_before) == (None, None, "", None)
    assert await box.get("other") == other


async def test_events_of_one_moment_are_ordered_by_their_ids(sqlite_ledger: Ledger) -> None:
    """That holds for due events and for lists."""
    box = sqlite_ledger.inbox
    for event_id, seconds in (("c", 0), ("a", 0), ("b", 0), ("d", 1)):
        await box.add(event(event_id, received_at=NOW + seconds * SECOND, meeting_sid="m"))
    await box.failed("b", "?", not_before=NOW + SECOND)
    assert [each.id for each in await box.due(NOW + SECOND)] == ["a", "b", "c", "d"]
    assert [each.id for each in await box.due(NOW + SECOND - MILLISECOND)] == ["a", "c", "d"]
    assert [each.id for each in await box.list()] == ["d", "a", "b", "c"]
    assert [each.id for each in await box.list(limit=2)] == ["d", "a"]
    search = sqlite_ledger.inbox_search
    found = await search.page(Sought(), None, limit=2, offset=1)
    assert [each.id for each in found] == ["a", "b"]
    assert await search.page(Sought(meeting_sid="other"), None, limit=2) == []
    assert await box.list("settled") == []
    assert await box.count("pending") == 4


async def test_events_that_waited_longest_are_tried_again_first(sqlite_ledger: Ledger) -> None:
    """Ids do not matter, and only events whose time has come are tried."""
    box = sqlite_ledger.inbox
    for number, event_id in enumerate(("c", "a", "b", "late")):
        await box.add(event(event_id))
        await box.finish(event_id, EventState.UNMATCHED, slug="s", not_before=NOW)
        await sqlite_ledger._database.change(
            update(inbox).where(inbox.c.id == event_id).values(settled_at=NOW + number * SECOND)
        )
    await box.finish("late", EventState.UNMATCHED, not_before=NOW + MILLISECOND)
    assert await box.reopen_unmatched(NOW, 1) == 1
    assert [each.id for each in await box.due(NOW)] == ["c"]
    again = await box.get("c")
    assert again is not None
    assert (again.not_before, again.slug) == (None, "s")
    assert await box.reopen_unmatched(NOW, 9) == 2
    assert [each.id for each in await box.due(NOW)] == ["a", "b", "c"]


async def test_events_of_a_bookings_children_wait_for_it(sqlite_ledger: Ledger) -> None:
    """They name it either way, in this workspace, and only while they are unmatched."""
    box = sqlite_ledger.inbox
    for event_id, fields in (
        ("own", {"booking_sid": "b\x00"}), ("child", {"parent_sid": "b-2"}),
        ("other", {"booking_sid": "b-3"}), ("elsewhere", {"parent_sid": "b-2", "workspace": "w"}),
        ("ignored", {"parent_sid": "b-2"}),
    ):  # fmt: skip
        await box.add(event(event_id, **fields))
        state = EventState.IGNORED if event_id == "ignored" else EventState.UNMATCHED
        await box.finish(event_id, state)
    assert await box.reopen_booking("default", ["b\x00", "b-2"]) == 2
    assert [each.id for each in await box.due(NOW)] == ["child", "own"]
    assert await box.reopen_booking("default", []) == 0


async def test_an_event_is_assigned_whatever_its_outcome_was_before(sqlite_ledger: Ledger) -> None:
    """It is due at once, as new, and only this one."""
    box = sqlite_ledger.inbox
    for event_id in ("e1", "other"):
        await box.add(event(event_id))
        await box.failed(event_id, "bad", not_before=NOW + DAY, max_attempts=1)
    await box.finish("e1", EventState.UNMATCHED, reason="names no link", not_before=NOW + DAY)
    kept = await box.assign("e1", "a-1")
    assert (kept.state, kept.reason, kept.attempts) == (EventState.PENDING, "", 0)
    assert (kept.last_error, kept.not_before) == (None, None)
    assert (kept.slug, kept.match) == ("a-1", "assigned")
    other = await box.get("other")
    assert other is not None
    assert (other.state, other.slug) == (EventState.DEAD, None)
