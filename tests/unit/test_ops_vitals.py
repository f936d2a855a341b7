"""Test that silence is noticed, since when, and the message once it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pool.access.api_keys import Caller, Scope
from pool.api.ops.live.beat import Live, joined
from pool.api.ops.live.boards import banner, frame_of
from pool.api.ops.session.sessions import Session
from pool.errors import LedgerUnavailable, StoreUnavailable
from pool.ledger import Ledger
from pool.model.incidents import What
from pool.model.meetings import Meeting
from pool.model.vitals import SILENT_SECONDS, Calls, Heard, HeardPulse, Pulse
from pool.operations import summary
from pool.operations.incident_notes import IncidentNotes
from pool.operations.reader import Reader
from pool.operations.snapshot import LedgerHealth, Snapshot
from pool.operations.status import MeetingStatus
from pool.operations.tiles import tiles_of
from pool.operations.vitals import Trouble, Vitals, heard_troubles
from pool.operations.vitals_watch import VitalsWatch
from tests.unit.test_ops_pages import snapshot, status

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def pulse(role: str, age: float, **calls: Calls) -> HeardPulse:
    return HeardPulse(f"{role} h:{age}", Pulse(role, "h", calls), age)  # type: ignore[arg-type]


def heard(*pulses: HeardPulse, swept: float | None = 1.0, **more: Any) -> Heard:
    """Return the signs of a service in which a worker swept this many seconds ago."""
    values: dict[str, Any] = {"totals": {}} | more
    return Heard(NOW_MS, pulses, None if swept is None else NOW_MS - round(swept * 1000), **values)


@pytest.mark.parametrize(
    ("known", "seconds"),
    [
        (heard(pulse("worker", 0.4)), None),
        (heard(pulse("worker", 0.4), pulse("worker", 9.0)), None),
        (heard(pulse("worker", 2.6)), 2.6),
        (heard(pulse("worker", 70.0), pulse("worker", 90.0)), 70.0),
        (heard(swept=8.0), 8.0),  # it has ended in order
        (heard(pulse("worker", 0.4), swept=21.0), 21.0),  # beat is gone
        (heard(swept=8.0, always=False), None),  # an older release's worker
        (heard(swept=None, always=False), None),
    ],
)
def test_a_worker_is_silent_within_three_seconds(known: Heard, seconds: float | None) -> None:
    """The time counts from its last sign, and one of several is no trouble for the others."""
    found = heard_troubles(known, NOW, 5.0)
    assert [each.what for each in found] == ([What.WORKER] if seconds else [])
    if seconds:
        assert found[0].since == NOW - timedelta(seconds=seconds)


def test_a_provider_is_silent_only_if_it_answers_no_process() -> None:
    """A call that hangs in one process counts unless another got an answer since."""
    silent = pulse("worker", 0.0, default=Calls(3, 4.0, 5.0))
    answered = pulse("api", 0.0, default=Calls(0, 0.0, 1.0))
    before = pulse("api", 0.0, default=Calls(0, 0.0, 60.0))
    [trouble] = heard_troubles(heard(silent, before), NOW, 5.0)
    assert (trouble.what, trouble.about) == (What.PROVIDER, "default")
    assert trouble.since == NOW - timedelta(seconds=4)
    assert heard_troubles(heard(silent, answered), NOW, 5.0) == []
    frozen = heard(pulse("worker", 2.2, default=Calls(1, 0.6, 5.0)))  # in the middle of a call
    assert heard_troubles(frozen, NOW, 5.0) == []
    assert frozen.unanswered_seconds("default") < SILENT_SECONDS


class Stage:
    """A Redis and a ledger that answer as the test says, and a clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.redis: Callable[[], Heard] = self.well
        self.totals: dict[str, int] = {}
        self.ledger_error: Exception | None = None
        hear = SimpleNamespace(hear=self._hear)
        inbox = SimpleNamespace(count=self._count)
        self.watch = VitalsWatch(
            SimpleNamespace(pulses=hear),  # type: ignore[arg-type]
            SimpleNamespace(inbox=inbox),  # type: ignore[arg-type]
            5.0,
            clock=lambda: self.seconds,
            now=lambda: NOW + timedelta(seconds=self.seconds),
        )

    def well(self) -> Heard:
        return heard(pulse("worker", 0.1), totals=dict(self.totals))

    async def _hear(self) -> Heard:
        return self.redis()

    async def _count(self, _state: str) -> int:
        if self.ledger_error:
            raise self.ledger_error
        return 3

    async def go(self, seconds: float) -> Vitals:
        """Let time pass in steps of half a second. Return how things are then."""
        for _ in range(round(seconds / 0.5)):
            self.seconds += 0.5
            await self.watch.step()
            await asyncio.sleep(0)
        return self.watch.latest


def away() -> Heard:
    raise StoreUnavailable("Redis: refused")


async def test_a_silent_redis_is_shown_at_once_and_its_cost_when_it_is_over() -> None:
    """Visitors turned away are handed over a moment after; for a minute it is said."""
    stage = Stage()
    stage.totals = {"empty": 10, "quarantined": 5}
    assert (await stage.go(1.0)).troubles == ()
    stage.redis = away
    vitals = await stage.go(0.5)
    assert [each.what for each in vitals.troubles] == [What.REDIS]
    assert vitals.troubles[0].since == NOW + timedelta(seconds=1)
    await stage.go(12.5)
    stage.redis = stage.well
    vitals = await stage.go(0.5)
    assert vitals.troubles == ()
    stage.totals = {"empty": 10, "error": 85, "quarantined": 2_070}
    [over] = (await stage.go(3.0)).over
    assert (over.turned_away, over.quarantined) == (85, 2_065)
    assert over.lasted_seconds == pytest.approx(13.5)
    await stage.go(8.0)
    stage.totals["error"] = 100
    [over] = (await stage.go(20.0)).over
    assert over.turned_away == 85, "later visitors are not its cost"
    assert (await stage.go(60.0)).over == ()


async def test_what_redis_would_say_of_workers_is_unknown_without_it() -> None:
    """Their pulses have a moment to return after Redis has."""
    stage = Stage()
    await stage.go(1.0)
    stage.redis = away
    await stage.go(5.0)
    stage.redis = lambda: heard(pulse("worker", 6.0), swept=6.0)
    assert (await stage.go(2.0)).troubles == ()
    assert [each.what for each in (await stage.go(2.0)).troubles] == [What.WORKER]


async def test_a_silent_provider_stands_until_it_answers() -> None:
    """It is not over because the worker that asked it is frozen, or another has its place."""
    stage = Stage()
    api = pulse("api", 0.1, default=Calls(0, 0.0, 30.0))
    stage.redis = lambda: heard(api, pulse("worker", 0.1, default=Calls(1, 4.0, 5.0)))
    assert [each.what for each in (await stage.go(1.0)).troubles] == [What.PROVIDER]
    stage.redis = lambda: heard(api, pulse("worker", 4.0, default=Calls(1, 4.0, 5.0)))
    both = {each.what for each in (await stage.go(1.0)).troubles}
    assert both == {What.PROVIDER, What.WORKER}
    stage.redis = lambda: heard(api, pulse("worker", 0.1, default=Calls(0, 0.0, None)))
    assert [each.what for each in (await stage.go(1.0)).troubles] == [What.PROVIDER]
    stage.redis = lambda: heard(api, pulse("worker", 0.1, default=Calls(0, 0.0, 0.1)))
    vitals = await stage.go(1.0)
    assert vitals.troubles == ()
    assert {each.trouble.what for each in vitals.over} == {What.PROVIDER, What.WORKER}


async def test_a_silent_provider_of_a_workspace_that_is_gone_is_not_waited_for() -> None:
    """Once no process uses the workspace, nothing will ask its provider again."""
    stage = Stage()
    stage.redis = lambda: heard(pulse("worker", 0.1, gone=Calls(1, 4.0, 5.0)))
    assert [each.about for each in (await stage.go(1.0)).troubles] == ["gone"]
    stage.redis = stage.well
    assert (await stage.go(1.0)).troubles == ()


async def test_what_a_slow_recovery_sets_aside_counts_as_its_cost() -> None:
    """A recovery of many pools takes longer than the visitors it turned away are counted."""
    stage = Stage()
    await stage.go(1.0)
    stage.redis = away
    await stage.go(5.0)
    stage.redis = stage.well
    await stage.go(20.0)
    stage.totals = {"quarantined": 400}
    [over] = (await stage.go(1.0)).over
    assert over.quarantined == 400


async def test_what_a_recovery_sets_aside_is_no_cost_of_a_provider_that_was_silent_before() -> None:
    """Both may be shown as over at the same time."""
    stage = Stage()
    silent = pulse("worker", 0.1, default=Calls(1, 4.0, 5.0))
    stage.redis = lambda: heard(silent, totals=dict(stage.totals))
    assert [each.what for each in (await stage.go(1.0)).troubles] == [What.PROVIDER]
    answers = pulse("worker", 0.1, default=Calls(0, 0.0, 0.0))
    stage.redis = lambda: heard(answers, totals=dict(stage.totals))
    assert (await stage.go(1.0)).troubles == ()
    stage.totals = {"quarantined": 357}
    [over] = (await stage.go(1.0)).over
    assert (over.trouble.what, over.quarantined) == (What.PROVIDER, 0)


async def test_visitors_turned_away_in_the_next_trouble_are_no_cost_of_the_last() -> None:
    """Counts arrive for some seconds after the end, unless another part is silent by then."""
    stage = Stage()
    silent = pulse("worker", 0.1, default=Calls(1, 4.0, 5.0))
    stage.redis = lambda: heard(silent, totals=dict(stage.totals))
    stage.totals = {"empty": 1}
    await stage.go(1.0)
    answers = pulse("worker", 0.1, default=Calls(0, 0.0, 0.0))
    stage.redis = lambda: heard(answers, totals=dict(stage.totals))
    await stage.go(1.0)
    stage.totals = {"empty": 3}
    [provider] = (await stage.go(1.0)).over
    assert provider.turned_away == 2
    stage.redis = away
    await stage.go(1.0)
    stage.totals = {"empty": 10}
    stage.redis = lambda: heard(answers, totals=dict(stage.totals))
    over = {each.trouble.what: each.turned_away for each in (await stage.go(1.0)).over}
    assert over == {What.PROVIDER: 2, What.REDIS: 7}


async def test_a_ledger_that_is_gone_is_shown_within_three_seconds() -> None:
    """That holds while a page is open, and the number of unmatched bookings is unknown then."""
    stage = Stage()
    stage.watch.looked_at = 1e9
    assert (await stage.go(2.0)).unmatched == 3
    stage.ledger_error = LedgerUnavailable("refused")
    vitals = await stage.go(2.0)
    assert [each.what for each in vitals.troubles] == [What.LEDGER]
    assert vitals.unmatched is None
    stage.ledger_error = None
    vitals = await stage.go(1.5)
    assert (vitals.troubles, [each.trouble.what for each in vitals.over]) == ((), [What.LEDGER])


async def test_workers_that_wait_for_the_ledger_are_not_called_without_beat() -> None:
    """Their tasks wait, so none sweeps; once the ledger answers, they have their time again."""
    stage = Stage()
    stage.watch.looked_at = 1e9

    def stuck() -> Heard:
        return heard(pulse("worker", 0.1), swept=1.0 + stage.seconds)

    stage.redis = stuck
    stage.ledger_error = LedgerUnavailable("refused")
    vitals = await stage.go(60.0)
    assert [each.what for each in vitals.troubles] == [What.LEDGER]
    stage.redis = lambda: heard(swept=60.0)
    vitals = await stage.go(1.0)
    assert [each.what for each in vitals.troubles] == [What.WORKER, What.LEDGER], "none runs"
    assert "No worker is running" in vitals.troubles[0].text
    stage.redis, stage.ledger_error = stage.well, None
    await stage.go(2.0)
    stage.redis = stuck
    assert (await stage.go(15.0)).troubles == ()
    vitals = await stage.go(10.0)
    assert "is beat running?" in vitals.troubles[0].text, "now it is not the ledger"
    stage.ledger_error = LedgerUnavailable("refused")
    vitals = await stage.go(30.0)
    assert [each.what for each in vitals.troubles] == [What.WORKER, What.LEDGER]


async def test_troubles_become_incidents_once(sqlite_ledger: Ledger) -> None:
    """Two processes see the same; a hiccup is none; and one that nobody ended is tidied up."""
    since = datetime.now(UTC) - timedelta(seconds=60)
    trouble = Trouble(What.REDIS, "", since, "no answer", turned_away=7)
    now = [0.0]
    both = [IncidentNotes(sqlite_ledger, lambda: now[0]) for _ in range(2)]
    for notes in both:
        await notes.note(Vitals(since + timedelta(seconds=1), (trouble,)))
    assert await sqlite_ledger.incidents.latest(9) == []
    for notes in both:
        await notes.note(Vitals(since + timedelta(seconds=4), (trouble,)))
    [found] = await sqlite_ledger.incidents.latest(9)
    assert (found.began_at - since < timedelta(seconds=1), found.baseline) == (True, 7)
    now[0] = 40.0
    await IncidentNotes(sqlite_ledger, lambda: now[0]).note(Vitals(datetime.now(UTC)))
    [found] = await sqlite_ledger.incidents.latest(9)
    assert found.ended_at is not None


async def test_a_page_that_comes_as_the_last_one_leaves_is_kept_up_to_date() -> None:
    """A tab is reloaded: whichever background task ended in between is begun again."""
    for ends in ("readings", "beat"):
        readings, vitals = _Readings(), Stage().watch
        live = Live(cast(Reader, readings), vitals)
        first = live.follow()
        await anext(first)
        await asyncio.sleep(0)
        await first.aclose()
        if ends == "readings":
            readings.come()  # nobody follows: whoever waits for readings goes home
        else:
            await vitals.step()
        await asyncio.sleep(0.01)
        second = live.follow()
        await anext(second)
        await asyncio.sleep(0)
        readings.come()
        seen = []
        for _ in range(3):
            await asyncio.sleep(0.01)
            waiting = asyncio.ensure_future(anext(second))
            await asyncio.sleep(0)
            live._made_at = 0.0  # a second is over
            await vitals.step()
            seen.append((await asyncio.wait_for(waiting, 5)).every_seconds)
        assert seen[-1] == readings.number, ends
        await second.aclose()
        await live.close()


class _Readings:
    """Readings that come when the test says so, known by a number in place of their pace."""

    def __init__(self) -> None:
        self.number = 0.0
        self._news = asyncio.Event()

    def come(self) -> None:
        """Make the next reading."""
        self.number += 1
        self._news.set()
        self._news = asyncio.Event()

    @property
    def recent(self) -> Snapshot:
        return replace(snapshot(), every_seconds=self.number)

    async def latest(self) -> Snapshot:
        return self.recent

    async def follow(self) -> AsyncIterator[Snapshot]:
        while True:
            yield self.recent
            await self._news.wait()

    def stop(self) -> None: ...

    async def close(self) -> None: ...


# -- what is said ------------------------------------------------------------------------


def test_the_tile_of_a_worker_that_waits_for_the_ledger_says_so() -> None:
    """Nobody is sent to look after beat for it."""
    vitals = Vitals(NOW, heard=heard(pulse("worker", 0.1), swept=90.0))
    away = LedgerHealth(problem="no answer")
    since_ms = round((snapshot().at - timedelta(seconds=90)).timestamp() * 1000)
    stuck = replace(snapshot(), vitals=vitals, heartbeat_at_ms=since_ms)
    for ledger, words in ((away, "waits for the ledger"), (LedgerHealth(), "is not responding")):
        tiles = tiles_of(replace(stuck, ledger=ledger), 0, 5.0, everywhere=True)
        [tile] = [each for each in tiles if each.name == "Worker"]
        assert tile.words == words
        assert ("beat" in tile.detail) is (ledger is not away)


def at(*troubles: Trouble, **more: Any) -> Snapshot:
    """Return a service in which all is well but for these troubles."""
    return snapshot(vitals=Vitals(NOW, troubles, **more))


def trouble(what: What) -> Trouble:
    return Trouble(what, "", NOW - timedelta(seconds=4), f"{what} is silent")


def test_nothing_is_known_of_pools_while_redis_is_silent() -> None:
    """A good last reading does not change that."""
    reading = snapshot(found=(status("a"),))
    shown = joined(reading, Vitals(NOW, (trouble(What.REDIS),)))
    assert shown.found == ()
    assert "silent" in shown.store_problem
    assert summary.alarm(shown, []).words == "Redis silent"
    assert joined(None, Vitals(NOW)).is_read is False
    gone = joined(reading, Vitals(NOW, (trouble(What.LEDGER),), unmatched=None))
    assert gone.ledger == LedgerHealth("ledger is silent", None)


def test_numbers_that_are_not_renewed_are_said_to_be_old() -> None:
    """This holds whatever hinders the readings; a loaded machine may be a little late."""
    good = [status("a")]

    def read(seconds_ago: float) -> Snapshot:
        return replace(at(), at=NOW - timedelta(seconds=seconds_ago), every_seconds=2.0)

    assert summary.lead(read(9.0), good)[0] == "ok"
    assert summary.lead(read(30.0), good) == (
        "bad",
        "The pools were last read 30 s ago: their numbers are old",
    )
    assert summary.alarm(read(30.0), good).words == "old numbers"
    anybody = Session(Caller("k", frozenset({Scope.READ}), None), "")
    assert b'"stale":true' in frame_of(read(30.0), anybody).message_after(None)
    assert b'"stale":false' in frame_of(read(3.0), anybody).message_after(None)


def test_the_tab_says_first_what_visitors_feel() -> None:
    """Dry pools, then parts; a calm service says nothing."""
    dry = status("a", "empty", fresh=0, claims_per_second=1.0, runway_seconds=0.0)
    assert summary.alarm(at(), [status("b")]) == summary.Alarm("ok")
    worker = at(trouble(What.WORKER))
    assert summary.alarm(worker, [dry, status("b")]).words == "1 out of links, worker silent"
    stocked = status("c", "blocked", reason="404")
    assert summary.alarm(at(), [stocked]) == summary.Alarm("low", "1 low or blocked")


@pytest.mark.parametrize(
    ("pool", "feel"),
    [
        (status("a", "empty", fresh=0, claims_per_second=0.1), "dry"),
        (status("a", "empty", fresh=0), "low"),
        (status("a", "recovering"), "dry"),
        (status("a", "low", runway_seconds=2.0, claims_per_second=1.0), "soon"),
        (status("a", "blocked", runway_seconds=900.0), "stocked"),
        (status("a", "blocked", runway_seconds=200.0), "soon"),
        (status("a", "blocked", fresh=0, claims_per_second=1.0), "dry"),
        (
            status("a", "blocked", meeting=Meeting("a", closed_reason="x"), claims_per_second=1.0),
            "dry",
        ),
        (status("a", "paused", fresh=0), "paused"),
        (status("a"), "ok"),
    ],
)
def test_severity_is_what_visitors_feel(pool: MeetingStatus, feel: str) -> None:
    """Turned away now, soon, not yet; or as a person wishes."""
    assert pool.feel == feel


@pytest.mark.parametrize("what", [What.REDIS, What.WORKER, What.PROVIDER, What.LEDGER])
def test_the_line_of_a_silent_part_answers_the_five_questions(what: What) -> None:
    """It names the pools, the time, the visitors turned away, the remedy and the next step."""
    about = "acme" if what is What.PROVIDER else ""
    began = Trouble(what, about, NOW, f"{what} is silent", turned_away=7)
    text = banner(at(began, heard=heard(totals={"empty": 10, "error": 20})))
    assert ("workspace acme" in text) == bool(about)
    assert ("all pools" in text) != bool(about)
    assert NOW.isoformat() in text
    known = (
        "known once Redis is back" if what is What.REDIS else "More than 20 visitors turned away"
    )
    assert known in text
    for place in ("since", "whom", "away", "linkpool", "you"):
        assert f'class="{place}"' in text
    calm = banner(at(replace(began, turned_away=30), heard=heard(totals={"empty": 30})))
    assert ("Nobody was turned away since." in calm) == (what is not What.REDIS)
    unknown = banner(at(replace(began, turned_away=None), heard=heard(totals={"empty": 30})))
    assert ("turned away is not known." in unknown) == (what is not What.REDIS)


def test_tiles_say_at_once_which_part_is_silent() -> None:
    """They say for how long, and an idle provider does not show as making links."""
    troubles = tuple(trouble(what) for what in (What.WORKER, What.PROVIDER))
    found = {each.name: each for each in tiles_of(at(*troubles), 0, 5.0, everywhere=True)}
    assert (found["Worker"].words, found["Provider"].words) == ("is silent", "does not answer")
    assert "4 s" in found["Worker"].detail
    idle = at(heard=heard(pulse("api", 0.0, default=Calls(0, 0.0, 300.0))))
    found = {each.name: each for each in tiles_of(idle, 193, 5.0, everywhere=True)}
    assert (found["Provider"].words, found["Provider"].detail) == (
        "idle",
        "answered 5 min ago, not asked since",
    )
    assert found["Ledger"].words == "answers", "with claims waiting it is not up to date"


def test_parts_are_looked_at_four_times_as_often_while_somebody_watches() -> None:
    """To notice a silence within three seconds takes a look every quarter of a second."""
    stage = Stage()
    stage.watch.looked_at = -1.0e9
    assert stage.watch.every_seconds() == 1.0
    stage.watch.looked_at = stage.seconds
    assert stage.watch.every_seconds() == 0.25


def test_a_provider_that_was_not_heard_just_now_is_not_said_to_make_links() -> None:
    """Nobody knows whether it answers until it is asked again."""
    for seconds, words in ((4.0, "making links"), (6.0, "idle")):
        now = at(heard=heard(pulse("api", 0.0, default=Calls(0, 0.0, seconds))))
        found = {each.name: each for each in tiles_of(now, 0, 5.0, everywhere=True)}
        assert found["Provider"].words == words
    asked = heard(pulse("api", 0.0, default=Calls(0, 0.0, 1.0)))
    for now in (
        at(trouble(What.WORKER), heard=asked),
        replace(at(heard=asked), ledger=LedgerHealth("does not answer")),
    ):
        found = {each.name: each for each in tiles_of(now, 0, 5.0, everywhere=True)}
        assert found["Provider"].words == "not asked", "though it answered a second ago"
