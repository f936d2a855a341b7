"""Test the inbox: nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from ledger_samples import NOW

from pool.errors import UnknownEvent
from pool.ledger import EventState, InboxEvent, Ledger, NewEvent
from pool.ledger.inbox_search import Sought

pytest_plugins = ("ledger_fixtures",)


def event(event_id: str, seconds: int = 0, **fields: Any) -> NewEvent:
    values: dict[str, Any] = {
        "id": event_id,
        "workspace": "default",
        "source": "webhook",
        "event": "booking_created",
        "body": b'{"name": "Zo\xc3\xab <&>"}\x00\xff',
        "received_at": NOW + timedelta(seconds=seconds),
        "booking_sid": "bk-1",
        "meeting_sid": "intro",
    }
    return NewEvent(**values | fields)


async def _get(ledger: Ledger, event_id: str) -> InboxEvent:
    kept = await ledger.inbox.get(event_id)
    assert kept is not None
    return kept


async def test_an_event_is_kept_as_it_came(ledger: Ledger) -> None:
    """The raw body comes back byte for byte."""
    added, new = await ledger.inbox.add(event("e1"))
    assert new
    assert added == await _get(ledger, "e1")
    assert added == InboxEvent(
        id="e1",
        workspace="default",
        source="webhook",
        event="booking_created",
        booking_sid="bk-1",
        meeting_sid="intro",
        body=event("e1").body,
        received_at=NOW,
        state=EventState.PENDING,
        reason="",
        slug=None,
        match=None,
        attempts=0,
        last_error=None,
        not_before=None,
        seen=1,
        settled_at=None,
    )
    assert await ledger.inbox.get("e2") is None


async def test_a_repeat_is_the_same_event(ledger: Ledger, other: Ledger) -> None:
    """Of any number that arrive at once, one is new, and all are counted."""
    added = await asyncio.gather(
        *(which.inbox.add(event("e1", n)) for n in range(10) for which in (ledger, other))
    )
    assert [new for _, new in added].count(True) == 1
    assert (await _get(ledger, "e1")).seen == 20
    await ledger.inbox.finish("e1", EventState.SETTLED, slug="a-1", match="slug")
    repeat, new = await ledger.inbox.add(event("e1"))
    assert (repeat.state, repeat.seen, new) == (EventState.SETTLED, 21, False)


async def test_due_events_come_oldest_first(ledger: Ledger) -> None:
    """Events that failed wait for their time; finished ones are never due."""
    for number in (3, 1, 2, 4):
        await ledger.inbox.add(event(f"e{number}", number))
    await ledger.inbox.finish("e4", EventState.IGNORED, reason="not of ours")
    assert await ledger.inbox.failed("e1", "boom", not_before=NOW + timedelta(hours=1)) == 1

    async def due(seconds: float, limit: int = 100) -> list[str]:
        when = NOW + timedelta(seconds=seconds)
        return [one.id for one in await ledger.inbox.due(when, limit)]

    assert await due(0) == ["e2", "e3"]
    assert await due(0, 1) == ["e2"]
    assert await due(3600) == ["e1", "e2", "e3"]
    assert await ledger.inbox.count("pending") == 3
    assert await ledger.inbox.count("dead") == 0


async def test_an_event_that_keeps_failing_dies_and_may_be_retried(ledger: Ledger) -> None:
    """After `max_attempts` it is dead; a person's retry makes it pending and due at once."""
    await ledger.inbox.add(event("e1"))
    for attempt in (1, 2, 3):
        later = NOW + timedelta(days=attempt)
        assert attempt == await ledger.inbox.failed("e1", "a\0b", not_before=later, max_attempts=3)
    dead = await _get(ledger, "e1")
    assert (dead.state, dead.attempts, dead.last_error) == (EventState.DEAD, 3, "a\ufffdb")
    with pytest.raises(UnknownEvent):
        await ledger.inbox.failed("e1", "late", not_before=NOW)
    revived = await ledger.inbox.retry("e1")
    assert revived == await _get(ledger, "e1")
    assert (revived.state, revived.attempts) == (EventState.PENDING, 0)
    assert [one.id for one in await ledger.inbox.due(NOW)] == ["e1"]
    with pytest.raises(UnknownEvent):
        await ledger.inbox.retry("unknown")


async def test_a_settled_event_stays_settled(ledger: Ledger) -> None:
    """A slower worker's lesser outcome does not undo it, and an unknown event is refused."""
    await ledger.inbox.add(event("e1"))
    await ledger.inbox.finish("e1", EventState.UNMATCHED, reason="no link fits")
    await ledger.inbox.finish("e1", EventState.SETTLED, slug="a-1", match="assigned")
    await ledger.inbox.finish("e1", EventState.UNMATCHED, reason="no link fits")
    settled = await _get(ledger, "e1")
    assert (settled.state, settled.slug, settled.match) == (EventState.SETTLED, "a-1", "assigned")
    assert settled.settled_at is not None
    with pytest.raises(UnknownEvent):
        await ledger.inbox.finish("unknown", EventState.SETTLED)


async def test_unmatched_events_are_tried_again(ledger: Ledger) -> None:
    """Due ones are pending again, as many as asked for, and so are those of an older linkpool."""
    later = NOW + timedelta(hours=1)
    for number, due in enumerate((later, later, None)):
        await ledger.inbox.add(event(f"e{number}", number))
        await ledger.inbox.finish(f"e{number}", EventState.UNMATCHED, not_before=due)
    before = later - timedelta(milliseconds=1)
    assert await ledger.inbox.reopen_unmatched(before) == 1
    assert (await _get(ledger, "e2")).state is EventState.PENDING
    await ledger.inbox.finish("e2", EventState.UNMATCHED, not_before=later)
    assert await ledger.inbox.reopen_unmatched(later, limit=2) == 2
    assert await ledger.inbox.reopen_unmatched(later, limit=2) == 1
    assert await ledger.inbox.count(EventState.PENDING) == 3


async def test_a_bookings_unmatched_events_are_tried_again(ledger: Ledger) -> None:
    """Only those of this booking and workspace are."""
    for event_id, fields in (
        ("e1", {}),
        ("e2", {"booking_sid": "bk-2"}),
        ("e3", {"workspace": "other"}),
        ("e4", {}),
    ):
        await ledger.inbox.add(event(event_id, **fields))
        await ledger.inbox.finish(event_id, EventState.UNMATCHED)
    await ledger.inbox.finish("e4", EventState.SETTLED)
    assert await ledger.inbox.reopen_booking("default", ["bk-1"]) == 1
    assert [one.id for one in await ledger.inbox.due(NOW)] == ["e1"]


async def test_events_are_listed_newest_first(ledger: Ledger) -> None:
    """The list has all events, or those of one state; a search those of one meeting."""
    await ledger.inbox.add(event("e1", 1))
    await ledger.inbox.add(event("e2", 2, meeting_sid=None, source="reconcile"))
    await ledger.inbox.add(event("e3", 3))
    await ledger.inbox.finish("e3", EventState.UNMATCHED)

    async def listed(state: str | None = None) -> list[str]:
        return [one.id for one in await ledger.inbox.list(state)]

    async def of_intro(state: EventState | None, limit: int = 10) -> list[str]:
        sought = Sought(state, meeting_sid="intro")
        return [one.id for one in await ledger.inbox_search.page(sought, None, limit=limit)]

    assert await listed() == ["e3", "e2", "e1"]
    assert await listed("pending") == ["e2", "e1"]
    assert [one.id for one in await ledger.inbox.list(limit=2)] == ["e3", "e2"]
    assert await of_intro(EventState.UNMATCHED) == ["e3"]
    assert await of_intro(None, limit=1) == ["e3"]


async def test_all_dead_events_come_back_at_once(ledger: Ledger) -> None:
    """Others and those with an erased body do not, and a second call finds none."""
    for event_id, body in (("dead-1", b"1"), ("dead-2", b"2"), ("erased", b""), ("waits", b"4")):
        await ledger.inbox.add(event(event_id, body=body))
        later = NOW + timedelta(days=1)
        for attempt in range(1 if event_id == "waits" else 2):
            await ledger.inbox.failed(
                event_id, f"failure {attempt}", not_before=later, max_attempts=2
            )
    await ledger.inbox.add(event("done"))
    await ledger.inbox.finish("done", EventState.SETTLED)
    assert await ledger.inbox.retry_dead() == 2
    again = await _get(ledger, "dead-1")
    assert (again.state, again.attempts, again.last_error, again.not_before) == (
        EventState.PENDING, 0, None, None,
    )  # fmt: skip
    assert [each.id for each in await ledger.inbox.due(NOW)] == ["dead-1", "dead-2"]
    assert (await _get(ledger, "erased")).state is EventState.DEAD
    assert (await _get(ledger, "done")).state is EventState.SETTLED
    assert (await _get(ledger, "waits")).attempts == 1
    assert await ledger.inbox.retry_dead() == 0
