"""Test the results of sweeps: samples, outlooks, automatic targets and notices."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from pool.alerting.webhook import Notifier
from pool.alerting.worker_watch import WorkerWatch
from pool.compose import Parts, compose
from pool.config.settings import load
from pool.ledger.records import EventState, NewEvent
from pool.model.forecast import HOUR_SECONDS, HOURS, Outlook, Usual
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.nudges import NOTIFY, TOP_UP
from pool.store import key_names
from pool.store.records import Sample, Series, Span, Totals
from tests.any_redis import SECRET_KEY
from tests.redis_process import RedisServer
from worker.forecast import foresee, hours_of
from worker.notify import deliver
from worker.sweep import sweep

SID = "intro"


@pytest.fixture
async def parts(redis_server: RedisServer, any_url: str, tmp_path: Path) -> AsyncIterator[Parts]:
    """Return the parts of a worker, with nothing listening at the operators' address."""
    settings = load(
        {
            "LINKPOOL_REDIS_URL": redis_server.url(),
            "LINKPOOL_DATABASE_URL": any_url,
            "LINKPOOL_DATA_DIR": str(tmp_path),
            "LINKPOOL_SECRET_KEY": SECRET_KEY.decode().replace(" ", "-"),
            "LINKPOOL_NEETOCAL_SUBDOMAIN": "acme",
            "LINKPOOL_NEETOCAL_API_KEY": "key",
            "LINKPOOL_NOTIFY_URL": "http://127.0.0.1:9/hook",
        }
    )
    async with compose(settings) as parts:
        await parts.ledger.meetings.put(Meeting(SID))
        await sweep(parts)
        await parts.recovery.recover(SID)
        yield parts


async def usual_peak(parts: Parts, claims: float) -> None:
    """Make this number of claims usual for every hour of the coming day."""
    hour = int(time.time()) // HOUR_SECONDS
    await parts.store.outlooks.put({SID: Outlook(hour, (Usual(claims, 1.0),) * HOURS)})


async def test_a_sweep_leaves_a_sample(parts: Parts) -> None:
    """The sample has the target of that moment."""
    await sweep(parts)
    series = await parts.store.history.read(SID, Span.HOUR)
    assert series.samples[-1].target == Meeting(SID).min_fresh


async def test_only_an_automatic_target_is_topped_up_to_the_forecast(parts: Parts) -> None:
    """The fixed one follows the present rate, although a busy hour usually follows."""
    await usual_peak(parts, 36_000.0)
    epoch = (await parts.store.look([SID]))[0].epoch
    await parts.store.add(SID, epoch, [f"one-off-{n}" for n in range(50)], 1_000)
    assert TOP_UP not in dict(await sweep(parts))
    await parts.ledger.meetings.put(Meeting(SID, target_mode="auto", max_fresh=500))
    assert dict(await sweep(parts))[TOP_UP] == {"workspace": "default"}
    await parts.ledger.meetings.put(Meeting(SID, target_mode="auto", max_fresh=50))
    assert TOP_UP not in dict(await sweep(parts)), "clamped by max_fresh"


async def test_how_the_target_is_decided_is_kept(parts: Parts) -> None:
    """Ledger and Redis keep the mode, which is fixed unless it was set otherwise."""
    kept = await parts.ledger.meetings.get(SID)
    assert kept is not None
    assert kept.target_mode == "fixed"
    await parts.ledger.meetings.put(Meeting(SID, target_mode="auto"))
    await sweep(parts)
    assert [meeting.target_mode for meeting in await parts.store.published.all()] == ["auto"]


async def test_outlooks_come_from_the_kept_past_once_an_hour(parts: Parts) -> None:
    """The past has two days with one busy hour, which lies two hours ahead."""
    level = (await parts.store.look([SID]))[0]
    start = int(time.time()) // HOUR_SECONDS - 46
    claims = 0
    # What a worker of two days ago began with.
    await parts.store._redis.delete(
        key_names.HISTORY_LAST, *map(key_names.history_taken, (10, 60, 3_600))
    )
    for hour in range(46):
        then = replace(level, now_ms=(start + hour) * HOUR_SECONDS * 1000, totals=Totals(claims))
        await parts.store.history.sample([then], {SID: 50}, sweep_seconds=5)
        claims += 240 if hour in (0 + 24, 0) else 0
    assert await foresee(parts) == 1
    assert await foresee(parts) == 0, "it is of this hour"
    found = (await parts.store.outlooks.get([SID]))[SID]
    rates = [usual.claims for usual in found.hours]
    assert rates.index(max(rates)) == 2
    assert max(rates) > 200
    assert sum(rates) < 1.1 * max(rates)
    assert (await parts.store.outlooks.get(["other"])) == {}


def test_an_hour_with_a_gap_is_not_taken_for_an_hour() -> None:
    """The first sample counts nothing either, and counts belong to the hour before."""

    def sample(hour: int, claims: int, covers: int) -> Sample:
        return Sample(hour * 3_600_000, 50, 50, 50, claims, 0, 0, covers, covers > 3_600)

    samples = (sample(10, 0, 3_600), sample(11, 7, 3_600), sample(14, 30, 10_800))
    assert hours_of(Series(SID, 3_600, 0, 1, samples)) == [(10, 7.0)]


async def test_a_booking_counts_once_in_the_past(parts: Parts) -> None:
    """The event may be processed any number of times."""
    now, slug = datetime.now(UTC), "one-off-00000000000a"
    link = Link(slug, f"https://x/{slug}", SID, State.FRESH, "pool", "e", now)
    await parts.ledger.links.insert_fresh([link])
    body = json.dumps({"event": "booking_created", "booking": {"sid": "b1", "slug": slug}})
    new = NewEvent("e2", "default", "webhook", "booking_created", body.encode(), now)
    await parts.ledger.inbox.add(new)
    assert await parts.bookings.settle_due() == 1
    assert (await parts.bookings.replay("e2", "ops")).state is EventState.SETTLED
    assert (await parts.store.look([SID]))[0].totals.bookings == 1


class Receiver:
    """A receiver that takes notices unless it is set to refuse them."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.open = True

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.open:
            self.got.append(json.loads(request.content)["text"])
        return httpx.Response(200 if self.open else 503)


def listened(parts: Parts, receiver: Receiver) -> Parts:
    """Return the same parts with a receiver at the operators' address."""
    from dataclasses import replace as with_

    notifier = Notifier(
        SecretStr("http://127.0.0.1:9/hook"),
        parts.store,
        transport=httpx.MockTransport(receiver),
    )
    return with_(parts, notifier=notifier)


async def unmatched_event(parts: Parts) -> str:
    kept, _ = await parts.ledger.inbox.add(
        NewEvent(
            id="e1",
            workspace="default",
            source="webhook",
            event="booking_created",
            booking_sid="b1",
            meeting_sid=SID,
            body=b"{}",
            received_at=datetime.now(UTC),
        )
    )
    await parts.ledger.inbox.finish(kept.id, EventState.UNMATCHED, reason="no link")
    return kept.id


def notices_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make notices go by a clock that the test turns. Return its seconds, in a list."""
    clock = [1_900_000_000.0]
    for name in ("worker.notify.to_ms", "pool.alerting.webhook.to_ms"):
        monkeypatch.setattr(name, lambda _: round(clock[0] * 1000))
    return clock


async def test_a_sweep_notes_a_fallen_fence_and_its_end(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fence that was recovered before any sweep is noted too. The sweep itself sends nothing."""
    receiver = Receiver()
    parts = listened(parts, receiver)
    await parts.ledger.meetings.put(Meeting(SID, min_fresh=0))  # else it is empty, too
    clock = notices_clock(monkeypatch)
    assert NOTIFY not in dict(await sweep(parts))
    await parts.store.alerts.fence_fell()
    assert NOTIFY in dict(await sweep(parts))
    assert receiver.got == []
    assert await deliver(parts) == 1
    assert NOTIFY not in dict(await sweep(parts)), "told once"
    await parts.store._redis.delete(key_names.FENCE_FELL)
    await sweep(parts)
    clock[0] += 31
    assert NOTIFY in dict(await sweep(parts))
    assert await deliver(parts) == 1
    assert ["forgotten claims" in receiver.got[0], "serve again" in receiver.got[1]] == [True] * 2


async def test_unmatched_bookings_are_reported(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gauges of a minute that did not match are given up."""
    receiver = Receiver()
    parts = listened(parts, receiver)
    clock = notices_clock(monkeypatch)
    await unmatched_event(parts)
    await sweep(parts)
    assert await deliver(parts) == 0
    clock[0] += 61
    await sweep(parts)
    await deliver(parts)
    assert [text for text in receiver.got if "1 bookings match no link" in text]


async def test_dead_events_are_reported_at_once_and_once_they_came_back(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has to replay them, and is notified when none is left."""
    receiver = Receiver()
    parts = listened(parts, receiver)
    clock = notices_clock(monkeypatch)
    now = datetime.now(UTC)
    await parts.ledger.inbox.add(NewEvent("e1", "default", "webhook", "booked", b"{}", now))
    await parts.ledger.inbox.failed("e1", "a defect", not_before=now, max_attempts=1)
    await sweep(parts)
    await deliver(parts)
    assert [text for text in receiver.got if "1 events could not be settled" in text]
    assert await parts.bookings.replay_dead("ops") == 1
    clock[0] += 1
    await sweep(parts)
    await deliver(parts)
    assert [text for text in receiver.got if "there are no dead events" in text]


async def test_an_api_process_notices_that_no_worker_sweeps(parts: Parts) -> None:
    """It sends the notice itself, and of several such processes one does."""
    receiver = Receiver()
    parts = listened(parts, receiver)
    now = [time.time()]
    watches = [
        WorkerWatch(parts.notifier, parts.store, parts.settings.sweep_seconds, lambda: now[0])
        for _ in range(3)
    ]
    for watch in watches:
        await watch.look()
    assert receiver.got == []
    now[0] += 60
    for watch in (*watches, *watches):
        await watch.look()
    assert len(receiver.got) == 1
    assert "no worker has run" in receiver.got[0]
    await sweep(parts)
    assert await deliver(parts) == 1
    assert "workers run again" in receiver.got[1]


async def test_where_no_worker_ever_ran_time_counts_from_the_start_of_the_api(
    parts: Parts,
) -> None:
    """Parts may start in any order."""
    receiver = Receiver()
    parts = listened(parts, receiver)
    await parts.store._redis.delete(key_names.HEARTBEAT)
    now = [time.time()]
    watch = WorkerWatch(parts.notifier, parts.store, parts.settings.sweep_seconds, lambda: now[0])
    await watch.look()
    assert receiver.got == []
    now[0] += 60
    await watch.look()
    assert len(receiver.got) == 1


async def test_nothing_waits_for_a_receiver_that_is_down(parts: Parts) -> None:
    """Sweeps continue, and do not mention it until the next attempt is due."""
    receiver = Receiver()
    receiver.open = False
    parts = listened(parts, receiver)
    await parts.store.alerts.fence_fell()
    assert NOTIFY in dict(await sweep(parts))
    assert await deliver(parts) == 0
    assert NOTIFY not in dict(await sweep(parts))


def no_notices(parts: Parts) -> Any:
    from dataclasses import replace as with_

    return with_(parts, notifier=None)


async def test_without_an_address_nothing_is_noted(parts: Parts) -> None:
    """It costs nothing, and no old trouble is reported when an address is set later."""
    await parts.store.alerts.fence_fell()
    assert NOTIFY not in dict(await sweep(no_notices(parts)))
    assert await parts.store._redis.llen(key_names.NOTICES) == 0
