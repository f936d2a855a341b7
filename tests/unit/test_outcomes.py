"""Test the counts of visitors and links, and the signs of life of processes."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from pool.errors import MeetingRefused, ProviderFailed, StoreUnavailable
from pool.model.meetings import Meeting
from pool.model.outcomes import EVERYWHERE, webhooks_of
from pool.model.vitals import Calls, Pulse
from pool.operations.hook_health import refused_lately
from pool.providers.watched import Answering
from pool.store.chunks import STEPS
from pool.store.history import History
from pool.store.records import Span, Totals
from pool.store.tallies import HandOver, Tallies
from tests.any_redis import AnyRedis
from tests.in_process import InProcess
from worker import hours
from worker.pulse import beat_on

HOUR_SECONDS = 3_600


# -- counts ----------------------------------------------------------------------------


async def test_counts_add_up_by_meeting_and_in_all(fake_redis: AnyRedis) -> None:
    """Two processes count; names that nobody asks for are not kept."""
    for _ in range(2):
        process = HandOver(Tallies(fake_redis.bare))
        process.count("a", "empty", 3)
        process.count("a", "new", 100)
        process.count("b", "error")
        await process.flush()
        await process.flush()
    tallies = fake_redis.store.tallies
    assert (await tallies.totals(["a"]))["empty"] == 6
    assert (await tallies.totals(["a", "b"])).turned_away == 8
    everywhere = await tallies.totals([EVERYWHERE])
    assert (everywhere.turned_away, everywhere.reasons) == (8, [("empty", 6), ("error", 2)])
    assert (await tallies.totals([])).turned_away == 0


async def past_of(redis: AnyRedis, sid: str, span: Span) -> list[tuple[int, dict[str, int]]]:
    [past] = await redis.store.tallies.past([sid], span)
    return [(each.at_ms // 1000, dict(each.outcomes.counts)) for each in past.counted]


async def test_slots_have_what_was_counted_since_the_slot_before(fake_redis: AnyRedis) -> None:
    """Each step counts once, for the meeting and for all; a total that fell restarted at 0."""
    store, start = fake_redis.store, int(time.time()) // 60 * 60 - 600
    await store.published.put([Meeting("a")])
    [level] = await store.look(["a"])

    async def sweep(seconds: int, claims: int) -> None:
        now_ms, totals = (start + seconds) * 1000, Totals(claims)
        history = History(fake_redis.bare, Tallies(fake_redis.bare))
        then = replace(level, now_ms=now_ms, totals=totals)
        assert await history.sample([then], {"a": 50}, sweep_seconds=5)

    await sweep(0, 0)
    await store.tallies.add({("a", "empty"): 4, ("a", "reused"): 1})
    await sweep(10, 7)
    await sweep(20, 7)
    await store.tallies.add({("a", "empty"): 2})
    await sweep(70, 9)
    assert await past_of(fake_redis, "a", Span.HOUR) == [
        (start + 10, {"reused": 1, "empty": 4}),
        (start + 70, {"empty": 2}),
    ]
    assert await past_of(fake_redis, "a", Span.DAY) == [(start + 60, {"reused": 1, "empty": 6})]
    assert await past_of(fake_redis, EVERYWHERE, Span.HOUR) == [
        (start + 10, {"reused": 1, "empty": 4, "claims": 7}),
        (start + 70, {"empty": 2, "claims": 2}),
    ]
    await fake_redis.bare.delete("lp:tallies")
    await store.tallies.add({("a", "empty"): 1})
    await sweep(130, 9)
    assert (await past_of(fake_redis, "a", Span.HOUR))[-1] == (start + 130, {"empty": 1})


async def test_wrong_signatures_are_known_by_workspace(fake_redis: AnyRedis) -> None:
    """One workspace's wrong secret is not held against the others; in all they are summed."""
    store = fake_redis.store
    process = HandOver(store.tallies)
    process.count(webhooks_of("acme"), "bad_signature", 3)
    process.count(webhooks_of("globex"), "bad_signature")
    await process.flush()
    await store.tallies.sample(int(time.time()), [True] * len(STEPS), [{} for _ in STEPS])
    found = await refused_lately(store, ["acme", "globex", "initech"])
    assert found == {"acme": 3, "globex": 1, "initech": 0}
    assert (await store.tallies.totals([EVERYWHERE]))["bad_signature"] == 4


async def test_a_pool_that_was_emptied_between_two_sweeps_shows_its_dip(
    product: InProcess,
) -> None:
    """A recovery sets aside all links, and top-up refills before the next sweep looks."""
    await product.meeting("intro")
    [level] = await product.store.look(["intro"])

    async def sweep(seconds: int) -> None:
        then = replace(level, fresh=40, now_ms=level.now_ms + seconds * 1000)
        await History(product.redis.bare).sample([then], {"intro": 50}, sweep_seconds=5)

    await sweep(-60)
    await product.stock("intro", "a-1", "a-2")
    await product.redis.restart()
    await product.parts.recovery.recover("intro", grace_seconds=0)
    await sweep(-50)
    await sweep(-40)
    samples = (await product.store.history.read("intro", Span.HOUR)).samples
    assert [(each.level, each.lowest) for each in samples[-3:]] == [(40, 40), (40, 0), (40, 40)]
    await product.parts.outcomes.flush()
    assert (await product.store.tallies.totals(["intro"]))["quarantined"] == 2


async def test_hours_that_are_over_are_kept_once(product: InProcess) -> None:
    """Meetings with events and the sum of all are kept, and a second run adds nothing."""
    for sid in ("busy", "idle"):
        await product.meeting(sid)
    start = int(time.time()) // HOUR_SECONDS * HOUR_SECONDS - 2 * HOUR_SECONDS
    levels = await product.store.look(["busy", "idle"])
    for hour in range(3):
        if hour == 1:
            await product.store.tallies.add({("busy", "empty"): 5})
        now_ms, claims = (start + hour * HOUR_SECONDS) * 1000, 30 * hour
        then = [
            replace(each, now_ms=now_ms, totals=Totals(claims if each.sid == "busy" else 0))
            for each in levels
        ]
        history = History(product.redis.bare, Tallies(product.redis.bare))
        await history.sample(then, {"busy": 50, "idle": 50}, sweep_seconds=5)
    assert await hours.keep(product.parts) == 5
    assert await hours.keep(product.parts) == 0
    since = datetime.fromtimestamp(start, UTC)
    busy = await product.ledger.hours.of("busy", since)
    assert [(each.began_at, each.outcomes["empty"]) for each in busy] == [
        (since, 5),
        (since + timedelta(hours=1), 0),
    ]
    assert [each.outcomes["claims"] for each in busy] == [30, 30]
    assert await product.ledger.hours.of("idle", since) == []
    assert [each.outcomes["claims"] for each in await product.ledger.hours.of("*", since)] == [
        30,
        30,
    ]
    assert await product.ledger.hours.prune(since + timedelta(days=90, minutes=61)) == 5


# -- signs of life ---------------------------------------------------------------------


async def test_a_process_is_heard_and_its_silence_noticed(fake_redis: AnyRedis) -> None:
    """Redis's clock decides, and a process that ended in order is no longer expected."""
    pulses = fake_redis.store.pulses
    assert not (await pulses.hear()).always, "only older releases run"
    calls = {"default": Calls(2, 3.5, None)}
    await pulses.beat("worker h:1", Pulse("worker", "h", calls))
    await pulses.beat("api h:2", Pulse("api", "h"))
    heard = await pulses.hear()
    assert heard.always
    assert [each.process for each in heard.speaking("worker")] == ["worker h:1"]
    assert heard.speaking("worker")[0].pulse.calls == calls
    old = heard.now_ms - 3_000
    await fake_redis.bare.hset("lp:pulses", "worker h:1", f'{old} {{"role":"worker","host":"h"}}')
    heard = await pulses.hear()
    assert [each.process for each in heard.silent("worker")] == ["worker h:1"]
    await pulses.end("worker h:1")
    assert not (await pulses.hear()).silent("worker")


async def test_a_worker_that_was_killed_is_forgotten_by_the_one_that_replaces_it(
    product: InProcess,
) -> None:
    """It is gone, not silent. One of another host, or one that is frozen, is still expected."""
    pulses, host = product.store.pulses, socket.gethostname()
    gone, frozen, elsewhere = (
        f"worker {host}:{2**22 + 1}", f"worker {host}:{os.getppid()}", f"worker x{host}:1",
    )  # fmt: skip
    for process in (gone, frozen, elsewhere):
        await pulses.beat(process, Pulse("worker", host))
    beating = asyncio.create_task(beat_on(product.parts, lambda: True))
    own = f"worker {host}:{os.getpid()}"
    while own not in (  # noqa: ASYNC110 - nothing tells of it
        names := {each.process for each in (await pulses.hear()).pulses}
    ):
        await asyncio.sleep(0.01)
    assert names == {own, frozen, elsewhere}
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_worker_that_redis_refuses_says_so_once(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this line, a worker that no task reaches would look well."""
    beats: list[str] = []

    async def beat(_pulses: object, process: str, _pulse: Pulse) -> None:
        beats.append(process)
        if len(beats) in (1, 2, 3, 5):
            raise StoreUnavailable("Redis: max number of clients reached")

    monkeypatch.setattr("worker.pulse.BEAT_SECONDS", 0.001)
    monkeypatch.setattr(type(product.store.pulses), "beat", beat)
    with capture_logs() as logs:
        beating = asyncio.create_task(beat_on(product.parts, lambda: True))
        while len(beats) < 7:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    assert [entry["event"] for entry in logs] == ["no pulse", "no pulse"]  # once for each outage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(answering: Answering, clock: Clock, seconds: float, error: BaseException) -> None:
    """Make a call that ends like this after so long."""
    with suppress(type(error)), answering.call():
        clock.now += seconds
        raise error


def test_a_provider_is_silent_since_its_first_unanswered_call() -> None:
    """A refusal is an answer; a time-out is none; one answered call ends the silence."""
    clock = Clock()
    answering = Answering(clock)
    assert answering.calls == Calls(0, 0.0, None)
    with answering.call():
        clock.now += 4
        assert answering.calls == Calls(1, 4.0, None)
    assert answering.calls == Calls(0, 0.0, 0.0)
    clock.now += 1
    fail(answering, clock, 10, ProviderFailed("no answer in time"))
    clock.now += 5
    assert answering.calls == Calls(0, 15.0, 16.0)
    fail(answering, clock, 0, MeetingRefused("no", status=404))
    assert answering.calls == Calls(0, 0.0, 0.0)


def test_a_call_that_was_soon_given_up_is_no_silence() -> None:
    """The caller lost interest; a call given up after seconds is a sign nevertheless."""
    clock = Clock()
    answering = Answering(clock)
    for seconds, silent in ((1.0, 0.0), (3.0, 3.0)):
        fail(answering, clock, seconds, KeyboardInterrupt())
        assert answering.calls.silent_seconds == silent


async def test_what_cannot_be_handed_over_is_kept() -> None:
    """Visitors who are turned away because Redis is away are counted once it is back."""
    taken: list[dict[tuple[str, str], int]] = []
    fails = [StoreUnavailable("away")]

    class Scripted(Tallies):
        def __init__(self) -> None: ...

        async def add(self, counts: object) -> None:
            if fails:
                raise fails.pop()
            taken.append(dict(counts))  # type: ignore[call-overload]

    process = HandOver(Scripted())
    process.count("a", "error", 5)
    with pytest.raises(StoreUnavailable):
        await process.flush()
    process.count("a", "error", 2)
    await process.flush()
    assert taken == [{("a", "error"): 7}]
