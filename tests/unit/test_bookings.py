"""Test events that cannot be settled yet or ever, and how they are replayed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from structlog.testing import capture_logs

from pool.bookings import settling
from pool.bookings.bookings import Bookings
from pool.bookings.settling import MAX_ATTEMPTS
from pool.config.settings import Settings
from pool.durability.recorder import Recorder
from pool.errors import StoreUnavailable
from pool.ledger import EventState, Ledger
from pool.ledger.inbox_search import Sought
from pool.ledger.records import RecordedClaim
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.operations.timelines import timelines
from pool.providers import open_provider
from pool.store import key_names
from pool.store.connect import store_error
from sandbox.signing import signed
from tests.acme import ACME
from tests.any_redis import AnyRedis

SID = "intro"


class Stage:
    """A meeting with two claimed links, and what settles their bookings."""

    def __init__(self, redis: AnyRedis, ledger: Ledger) -> None:
        self.store, self.ledger, self.bare = redis.store, ledger, redis.bare
        settings = Settings(workspaces={"default": ACME})
        recorder = Recorder(redis.store, ledger, settings, conflict=lambda: None)
        provider = open_provider(ACME, timeout_seconds=1.0, observe=lambda *_: None)
        self.providers = {"default": provider}
        self.bookings = Bookings(
            redis.store, ledger, recorder, self.providers, counted=lambda *_: None
        )

    async def receive(self, slug: str, **fields: Any) -> str:
        """Receive a booking of this link. Return its event id."""
        url = f"https://acme.neetocal.com/bookings/b?one_off_link={slug}"
        payload: dict[str, Any] = {
            "event": "booking_created",
            "booking": {"sid": f"b-{slug}", "client_booking_url": url, **fields},
        }
        event = signed(payload, secret="secret", escape="raw", wrong=False)
        return await self.bookings.receive("default", event.body, [event.signature or ""])

    async def state(self, slug: str) -> State:
        link = await self.ledger.links.get(slug)
        assert link is not None
        return link.state

    async def hurry(self, event_id: str) -> None:
        """Make the event's next attempt due at once."""
        event = await self.ledger.inbox.get(event_id)
        assert event is not None
        past = datetime.now(UTC) - timedelta(seconds=1)
        if event.state is EventState.PENDING and event.not_before is not None:
            await self.ledger.inbox.failed(
                event_id, event.last_error or "", not_before=past, its_fault=False
            )


@pytest.fixture
async def stage(fake_redis: AnyRedis, sqlite_ledger: Ledger) -> Stage:
    await sqlite_ledger.meetings.put(Meeting(SID))
    now = datetime.now(UTC)
    later = now + timedelta(days=1)
    await sqlite_ledger.links.record(
        [
            RecordedClaim(slug, "url", SID, who, None, None, "pool", now, later)
            for slug, who in (("one-off-1", "ann"), ("one-off-2", "bob"))
        ]
    )
    return Stage(fake_redis, sqlite_ledger)


def _failing(stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make Redis fail whenever the first link is to be marked there."""
    mark = stage.store.mark

    async def failing(sid: str, slug: str, *rest: Any) -> bool:
        if slug == "one-off-1":
            raise error
        return await mark(sid, slug, *rest)

    monkeypatch.setattr(stage.store, "mark", failing)


async def test_an_event_that_always_fails_rests_with_its_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event rests after MAX_ATTEMPTS attempts; the events behind it do not wait for it."""
    _failing(stage, monkeypatch, ValueError("poison"))
    poison, good = await stage.receive("one-off-1"), await stage.receive("one-off-2")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert await stage.bookings.settle_due() == (2 if attempt == 1 else 1)
        assert await stage.state("one-off-2") is State.CONSUMED
        event = await stage.ledger.inbox.get(poison)
        assert event is not None
        assert event.attempts == attempt
        await stage.hurry(poison)
    assert (event.state, event.last_error) == (EventState.DEAD, "ValueError: poison")
    assert await stage.bookings.settle_due() == 0
    other = await stage.ledger.inbox.get(good)
    assert other is not None
    assert other.state is EventState.SETTLED
    monkeypatch.undo()
    assert (await stage.bookings.replay(poison, "ops")).state is EventState.SETTLED


async def test_every_dead_event_comes_back_with_one_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit says who asked for it, and only if there was any."""
    assert await stage.bookings.replay_dead("ops", "nothing to do") == 0
    _failing(stage, monkeypatch, ValueError("poison"))
    poison = await stage.receive("one-off-1")
    for _ in range(MAX_ATTEMPTS):
        await stage.bookings.settle_due()
        await stage.hurry(poison)
    monkeypatch.undo()
    assert await stage.bookings.settle_due() == 0
    assert await stage.bookings.replay_dead("ops", "mended") == 1
    assert await stage.bookings.settle_due() == 1
    assert await stage.state("one-off-1") is State.CONSUMED
    [act] = await stage.ledger.audit.list()
    assert (act.actor, act.action, act.meeting_sid, act.reason, act.detail) == (
        "ops", "replay", None, "mended", {"dead events": 1},
    )  # fmt: skip
    monkeypatch.setattr(stage.ledger.inbox, "retry_dead", AsyncMock(return_value=2))
    assert await stage.bookings.replay_dead("ops") == 2
    reasons = {
        (each.reason, each.detail["dead events"]) for each in await stage.ledger.audit.list()
    }
    assert reasons == {("mended", 1), ("", 2)}


async def test_only_the_events_that_are_found_are_replayed(stage: Stage) -> None:
    """The audit has one entry with their number, and none if no event was found."""
    ids = [await stage.receive(slug) for slug in ("one-off-8", "one-off-9")]
    await stage.bookings.settle_due()
    for kind, found in (("booking_cancelled", 0), ("booking_created", 2)):
        sought = Sought(state=EventState.UNMATCHED, event=kind)
        about = {"kind": kind}
        assert await stage.bookings.replay_found(sought, "ops", "mended", about) == found
    [entry] = await stage.ledger.audit.list()
    assert (entry.actor, entry.action, entry.reason) == ("ops", "replay", "mended")
    assert entry.detail == {"events": 2, "kind": "booking_created"}
    events = [await stage.ledger.inbox.get(each) for each in ids]
    assert [each and each.state for each in events] == [EventState.PENDING] * 2


async def test_an_outage_is_not_the_events_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is settled once Redis is back, after an outage of any length."""
    _failing(stage, monkeypatch, StoreUnavailable("Redis: away", connection_lost=True))
    event_id = await stage.receive("one-off-1")
    for _ in range(MAX_ATTEMPTS + 1):
        assert await stage.bookings.settle_due() == 1
        await stage.hurry(event_id)
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert (event.state, event.attempts, event.last_error) == (
        EventState.PENDING,
        0,
        "Redis: away",
    )
    monkeypatch.undo()
    await stage.bookings.settle_due()
    assert await stage.state("one-off-1") is State.CONSUMED


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot"),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("Error running script (call to f_1): @user_script:12: -OOM command not"),
        NoPermissionError("this user has no permissions to run the 'evalsha' command"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_redis_refuses_for_its_own_reasons_is_not_the_events_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: RedisError
) -> None:
    """It is postponed as in an outage, for longer each time, and never becomes dead."""
    _failing(stage, monkeypatch, store_error(error))
    event_id = await stage.receive("one-off-1")
    for _ in range(MAX_ATTEMPTS + 1):
        assert await stage.bookings.settle_due() == 1
        await stage.hurry(event_id)
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert (event.state, event.attempts) == (EventState.PENDING, 0)
    monkeypatch.undo()
    await stage.bookings.settle_due()
    assert await stage.state("one-off-1") is State.CONSUMED


async def test_what_redis_refuses_of_this_event_is_its_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of another type, for example, will not be right later."""
    error = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    _failing(stage, monkeypatch, store_error(error))
    event_id = await stage.receive("one-off-1")
    await stage.bookings.settle_due()
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert event.attempts == 1


async def test_a_workspace_that_is_not_configured_is_waited_for(stage: Stage) -> None:
    """Its events stay as they are until it is there again."""
    event_id = await stage.receive("one-off-1")
    providers = dict(stage.providers)
    stage.providers.clear()
    assert await stage.bookings.settle_due() == 1
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert event.not_before is not None
    assert event.not_before > datetime.now(UTC) + timedelta(minutes=9)
    await stage.hurry(event_id)
    for _ in range(MAX_ATTEMPTS + 1):
        assert await stage.bookings.settle_due() == 1
        await stage.hurry(event_id)
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert (event.state, event.attempts) == (EventState.PENDING, 0)
    stage.providers.update(providers)
    await stage.bookings.settle_due()
    assert await stage.state("one-off-1") is State.CONSUMED


async def test_an_incomplete_booking_leaves_the_claim_as_it_is(stage: Stage) -> None:
    """A form that was not paid holds nothing; once it is paid, the link is consumed."""
    for status, expected in (("incomplete", State.CLAIMED), ("confirmed", State.CONSUMED)):
        made = "2026-11-22T06:00:00Z"
        await stage.receive("one-off-1", status=status, created_at=made, updated_at=made)
        await stage.bookings.settle_due()
        assert await stage.state("one-off-1") is expected


async def test_a_state_that_is_not_documented_stands_and_is_shown(stage: Stage) -> None:
    """A second link would be the worse mistake; a person finds it in the link's story."""
    await stage.receive("one-off-1", status="No-Show \x07")
    with capture_logs() as lines:
        await stage.bookings.settle_due()
        await stage.receive("one-off-2", status="confirmed")
        await stage.bookings.settle_due()
    assert [line["state"] for line in lines if "not documented" in line["event"]] == ["No-Show"]
    assert await stage.state("one-off-1") is State.CONSUMED
    [booking] = await stage.ledger.bookings.of_link("one-off-1")
    assert booking.state == "No-Show"
    found = await stage.ledger.search.link("one-off-1")
    assert found is not None
    [story] = await timelines(stage.ledger, [found])
    assert any("'No-Show'" in moment.said for moment in story.moments)


@pytest.mark.parametrize(
    ("url", "is_kept"),
    [
        ("https://acme.neetocal.com/bookings/b", True),
        ("http://127.0.0.1:8100/b?x=1&y=%20", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//acme.test/b", False),
        ('https://acme.test/"onload=alert(1)', False),
        ("https://acme.test/<b>", False),
        ("https:///b", False),
        ("https://[", False),
        (7, False),
    ],
)
async def test_a_booking_page_is_an_address_of_the_web(
    stage: Stage, url: object, is_kept: bool
) -> None:
    """Pages offer it to visitors as a link."""
    await stage.receive(
        "one-off-1", client_booking_url=url, form_responses=[{"field": "x", "value": "one-off-1"}]
    )
    await stage.bookings.settle_due()
    held = await stage.store.claim_of(SID, "ann")
    assert held is not None
    assert held.booked is not None
    assert held.booked.manage_url == (url if is_kept else None)


async def test_a_link_in_whose_form_somebody_is_leaves_the_pool(stage: Stage) -> None:
    """No customer claimed it, but a visitor has seen it, so it is never handed out."""
    now = datetime.now(UTC)
    link = Link("one-off-9", "url", SID, State.FRESH, "pool", "e", now)
    await stage.ledger.links.insert_fresh([link])
    await stage.store.published.put([Meeting(SID)])
    await stage.bare.zadd(key_names.fresh(SID), {"one-off-8": 1, "one-off-9": 2})
    await stage.receive("one-off-9", status="incomplete")
    await stage.bookings.settle_due()
    assert await stage.state("one-off-9") is State.QUARANTINED
    assert await stage.store.stock.oldest(SID, 9) == ["one-off-8"]


async def test_an_event_that_hangs_does_not_hold_up_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time runs out, which counts as a failure, and the next one has its turn."""
    loop = asyncio.get_running_loop()
    mark, now, passed_seconds = stage.store.mark, loop.time, 0
    monkeypatch.setattr(loop, "time", lambda: now() + passed_seconds)

    async def hanging(sid: str, slug: str, *rest: Any) -> bool:
        nonlocal passed_seconds
        if slug == "one-off-1":
            passed_seconds = settling.EVENT_SECONDS
            await asyncio.Event().wait()
        return await mark(sid, slug, *rest)

    monkeypatch.setattr(stage.store, "mark", hanging)
    event_id = await stage.receive("one-off-1")
    await stage.receive("one-off-2")
    assert await stage.bookings.settle_due() == 2
    assert await stage.state("one-off-2") is State.CONSUMED
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert (event.attempts, event.last_error) == (1, "not settled within 25 seconds")


async def test_a_redis_that_dies_at_the_end_does_not_bring_a_settled_event_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later events are settled, too, and a cancellation that came first is tried again."""

    async def away(_sid: str) -> None:
        raise StoreUnavailable("Redis: away", connection_lost=True)

    async def finish(event_id: str, *_: Any, **__: Any) -> None:
        assert reopened, event_id
        await finished(event_id, *_, **__)

    async def reopen(workspace: str, names: list[str]) -> int:
        reopened.append((workspace, *names))
        return 0

    reopened: list[tuple[str, ...]] = []
    finished = stage.ledger.inbox.finish
    monkeypatch.setattr(stage.store, "count_booking", away)
    monkeypatch.setattr(stage.ledger.inbox, "finish", finish)
    monkeypatch.setattr(stage.ledger.inbox, "reopen_booking", reopen)
    events = [await stage.receive(slug) for slug in ("one-off-1", "one-off-2")]
    assert await stage.bookings.settle_due() == 2
    for event_id in events:
        event = await stage.ledger.inbox.get(event_id)
        assert event is not None
        assert (event.state, event.last_error) == (EventState.SETTLED, None)
    assert reopened == [("default", "b-one-off-1"), ("default", "b-one-off-2")]
