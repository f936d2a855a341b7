"""Events that cannot be settled: those that never can, and those that only have to wait."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from pool import settling
from pool.bookings import Bookings
from pool.errors import StoreUnavailable
from pool.ledger import EventState, Ledger
from pool.ledger.records import RecordedClaim
from pool.links import State
from pool.meetings import Meeting
from pool.providers import open_provider
from pool.recorder import Recorder
from pool.settings import Settings, Workspace
from pool.settling import MAX_ATTEMPTS
from sandbox.signing import signed
from tests.any_redis import AnyRedis

SID = "intro"
ACME = Workspace(
    name="default",
    subdomain="acme",
    api_key=SecretStr("key"),
    webhook_secret=SecretStr("secret"),
    ref_field="ref",
)


class Stage:
    """A meeting with two claimed links, and what settles their bookings."""

    def __init__(self, redis: AnyRedis, ledger: Ledger) -> None:
        self.store, self.ledger = redis.store, ledger
        settings = Settings(workspaces={"default": ACME})
        recorder = Recorder(redis.store, ledger, settings, conflict=lambda: None)
        provider = open_provider(ACME, timeout_seconds=1.0, observe=lambda *_: None)
        self.bookings = Bookings(
            redis.store, ledger, recorder, {"default": provider}, counted=lambda *_: None
        )

    async def receive(self, slug: str) -> str:
        """A booking of this link arrives; its event id."""
        url = f"https://acme.neetocal.com/bookings/b?one_off_link={slug}"
        payload: dict[str, Any] = {
            "event": "booking_created",
            "booking": {"sid": f"b-{slug}", "client_booking_url": url},
        }
        event = signed(payload, secret="secret", escape="raw", wrong=False)
        return await self.bookings.receive("default", event.body, [event.signature or ""])

    async def state(self, slug: str) -> State:
        link = await self.ledger.links.get(slug)
        assert link is not None
        return link.state

    async def hurry(self, event_id: str) -> None:
        """Its next attempt is due at once."""
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
    """Redis fails whenever it is told of the first link."""
    mark = stage.store.mark

    async def failing(sid: str, slug: str, *rest: Any) -> bool:
        if slug == "one-off-1":
            raise error
        return await mark(sid, slug, *rest)

    monkeypatch.setattr(stage.store, "mark", failing)


async def test_an_event_that_always_fails_rests_with_its_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many attempts; the events behind it do not wait for it."""
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


async def test_an_outage_is_not_the_events_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long Redis is away: once it is back, the event is settled."""
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


async def test_an_event_that_hangs_does_not_hold_up_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given its time, which counts as a failure, and the next one has its turn."""
    monkeypatch.setattr(settling, "EVENT_SECONDS", 0.05)
    mark = stage.store.mark

    async def hanging(sid: str, slug: str, *rest: Any) -> bool:
        if slug == "one-off-1":
            await asyncio.sleep(60)
        return await mark(sid, slug, *rest)

    monkeypatch.setattr(stage.store, "mark", hanging)
    event_id = await stage.receive("one-off-1")
    await stage.receive("one-off-2")
    assert await stage.bookings.settle_due() == 2
    assert await stage.state("one-off-2") is State.CONSUMED
    event = await stage.ledger.inbox.get(event_id)
    assert event is not None
    assert (event.attempts, event.last_error) == (1, "not settled within 0.05 seconds")


async def test_a_redis_that_dies_at_the_end_does_not_bring_a_settled_event_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind it are settled, too, and a cancellation that came first is looked at again."""

    async def away(_sid: str) -> None:
        raise StoreUnavailable("Redis: away", connection_lost=True)

    async def finish(event_id: str, *_: Any, **__: Any) -> None:
        assert reopened, event_id
        await finished(event_id, *_, **__)

    async def reopen(workspace: str, booking_sid: str) -> int:
        reopened.append((workspace, booking_sid))
        return 0

    reopened: list[tuple[str, str]] = []
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
