"""Test that the checker finds every planted fault, in the evidence and in the product itself."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from pool.durability.reopening import Recovered
from pool.ledger.links import Links
from pool.ledger.records import EventState, NewEvent, Recorded
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.store import scripts
from pool.supply import top_up
from pool.supply.link_maker import LinkMaker
from pool.supply.planning import Need
from tests.any_redis import AnyRedis, copy_of_its_file, start_from_copy
from tests.redis_process import RedisServer
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import (
    FORGETS_SECONDS,
    Budget,
    Evidence,
    Kind,
    Outage,
    Stock,
    Verdict,
    check,
)
from tests.trials.harness.postgres import copy_ledger
from tests.trials.harness.stage import Stage as Processes
from tests.unit.recovery_stage import SID, Stage, stage, unopened  # noqa: F401 - fixtures
from worker.top_up import top_up as top_up_task

SERVER = 8000


@pytest.fixture
def any_redis(real_redis: AnyRedis) -> AnyRedis:
    """Return a real Redis to plant the faults on."""
    return real_redis


class Outside:
    """Customers of the stage, and everything that they can observe."""

    def __init__(self, on: Stage, ledger_url: str, directory: Path) -> None:
        self.stage = on
        self.ledger_url = ledger_url
        self.copy = directory / "evidence.sqlite3"
        self.tape = Tape()

    async def claim(self, who: str) -> str:
        """Note a claim that was answered."""
        outcome, slug = await self.stage.claim(who)
        assert slug, outcome
        reused = outcome.value == "reused"
        self.tape.claimed(SERVER, SID, who, slug, 200 if reused else 201, reused)
        return slug

    async def webhook(self, name: str, *, settle: bool = True) -> None:
        """Note a webhook that was answered 2xx."""
        inbox = self.stage.ledger.inbox
        await inbox.add(
            NewEvent(name, "default", "webhook", "booking_created", b"{}", datetime.now(UTC))
        )
        self.tape.accepted(name)
        if settle:
            await inbox.finish(name, EventState.SETTLED)

    async def evidence(self) -> Evidence:
        """Return the evidence, once everything is recorded."""
        await self.stage.recorder.record(SID)
        pools = {SID: frozenset(await self.stage.pooled())}
        return Evidence(self.tape, await asyncio.to_thread(self._ledger), pools)

    def _ledger(self) -> Path:
        """Return a SQLite file with what the ledger says."""
        if self.ledger_url.startswith("sqlite"):
            return Path(str(make_url(self.ledger_url).database))
        self.copy.unlink(missing_ok=True)
        copy_ledger(self.ledger_url, self.copy)
        return self.copy

    async def verdict(self, **more: Any) -> Verdict:
        """Return the checker's verdict."""
        return check(replace(await self.evidence(), **more))

    async def forgotten(self, rolled_back: Any) -> tuple[float, list[Outage]]:
        """Claim a link, and make Redis forget it. Return when Redis died, and the outage."""
        back = await rolled_back()
        await self.claim("ann")
        died_at = time.time()
        await back()
        await self.stage.recover()
        return died_at, [Outage(died_at, time.time())]

    async def kinds(self, **more: Any) -> set[Kind]:
        """Return the kinds of violation that the checker finds."""
        return {violation.kind for violation in (await self.verdict(**more)).violations}


@pytest.fixture
def outside(stage: Stage, any_url: str, tmp_path: Path) -> Outside:  # noqa: F811
    """Return customers of an open pool of three links: a-1, a-2, a-3."""
    return Outside(stage, any_url, tmp_path)


@pytest.fixture
def broken_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Change a line of one of the product's scripts."""
    true_source = scripts.source

    def change(name: str, old: str, new: str) -> None:
        assert old in true_source(name), "the script has changed: break it anew"

        def source(asked: str) -> str:
            text = true_source(asked)
            return text.replace(old, new) if asked == name else text

        monkeypatch.setattr(scripts, "source", source)
        monkeypatch.setattr(
            scripts, "sha1", lambda asked: hashlib.sha1(source(asked).encode()).hexdigest()
        )

    return change


@pytest.fixture
def rolled_back(outside: Outside, redis_server: RedisServer, tmp_path: Path) -> Callable[[], Any]:
    """Copy Redis's file now. Return a function that puts Redis back to it."""
    copy = tmp_path / "copy"
    copy.mkdir()

    async def settled() -> Callable[[], Any]:
        await outside.stage.redis.bare.wait(0, 0)
        await asyncio.sleep(0)
        copy_of_its_file(redis_server, copy)

        async def back() -> None:
            await asyncio.to_thread(start_from_copy, redis_server, copy)

        return back

    return settled


# -- nothing wrong ----------------------------------------------------------------------


async def test_nothing_is_found_where_nothing_is_wrong(outside: Outside) -> None:
    """There are claims, repeated ones, bookings and a cancellation, and the counts are right."""
    slug = await outside.claim("ann")
    assert await outside.claim("ann") == slug
    await outside.claim("bob")
    await outside.stage.recorder.record(SID)
    await outside.stage.book(slug, State.CONSUMED)
    await outside.stage.book(slug, State.CANCELLED)
    assert await outside.claim("ann") != slug, "after a cancellation there is a new link"
    await outside.webhook("event")
    verdict = await outside.verdict(
        provider=frozenset({"a-1", "a-2", "a-3"}),
        stock=[Stock(SID, 3, 3)],
        budget=Budget([0.0, 1.0, 2.0], per_second=1.0, burst=1),
    )
    assert verdict == Verdict((), excused=0, claims=4, webhooks=1)


# -- one slug, two customers ------------------------------------------------------------


async def test_a_script_that_leaves_the_link_in_the_pool(
    outside: Outside, broken_script: Callable[..., None]
) -> None:
    """The next customer is given the same link."""
    broken_script("claim", "redis.call('ZREM', KEYS[2], unpack(slugs))", "")
    assert await outside.claim("ann") == await outside.claim("bob")
    assert await outside.kinds() == {Kind.DOUBLE, Kind.STALE_POOL}


async def test_a_fence_that_never_falls(
    outside: Outside, rolled_back: Any, broken_script: Callable[..., None]
) -> None:
    """Redis forgets a claim, and hands the link out again."""
    back = await rolled_back()
    slug = await outside.claim("ann")
    await back()
    broken_script("claim", "if not fence_stands(KEYS[1])", "if false")
    assert await outside.claim("bob") == slug
    assert Kind.DOUBLE in await outside.kinds()


async def test_a_recovery_that_does_not_quarantine(
    outside: Outside,
    rolled_back: Any,
    broken_script: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Links that were fresh in an older file are handed out again."""
    back = await rolled_back()
    slug = await outside.claim("ann")
    await back()

    async def none(*_: Any, **__: Any) -> int:
        return 0

    monkeypatch.setattr(Links, "quarantine_fresh", none)
    broken_script("recover_begin", "if ARGV[2] ~= '1'", "if false")
    assert await outside.stage.recover() is Recovered.QUARANTINED
    assert await outside.claim("bob") == slug
    assert Kind.DOUBLE in await outside.kinds()


async def test_a_link_recorded_for_somebody_else(outside: Outside) -> None:
    """The ledger names another customer than the one who was answered."""
    slug = await outside.claim("ann")
    outside.tape.claims.clear()
    outside.tape.claimed(SERVER, SID, "bob", slug, 201, reused=False)
    assert await outside.kinds() == {Kind.DOUBLE}


# -- one customer, two live links -------------------------------------------------------


async def test_a_script_that_does_not_bind(
    outside: Outside, broken_script: Callable[..., None]
) -> None:
    """A reload costs a second link."""
    broken_script("claim", "redis.call('SET', KEYS[FIXED + i], binding, 'PX', settings[2])", "")
    assert await outside.claim("ann") != await outside.claim("ann")
    assert await outside.kinds() == {Kind.TWO_LINKS}


async def test_a_recovery_that_does_not_load_bindings(
    outside: Outside, rolled_back: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer who held a link before Redis forgot it is given another."""
    back = await rolled_back()
    await outside.claim("ann")
    await outside.stage.recorder.record(SID)
    await back()

    async def none(*_: Any) -> None:
        return

    monkeypatch.setattr("pool.durability.reopening.load_bindings", none)
    assert await outside.stage.recover() is Recovered.QUARANTINED
    await outside.stage.top_up("b-1")
    await outside.claim("ann")
    assert await outside.kinds() == {Kind.TWO_LINKS}


# -- nothing accepted is lost -----------------------------------------------------------


async def test_a_recorder_that_skips(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trims the stream without writing to the ledger."""

    async def none(*_: Any) -> Recorded:
        return Recorded(written=0, conflicts=(), settled=())

    monkeypatch.setattr(Links, "record", none)
    await outside.claim("ann")
    assert await outside.kinds() == {Kind.LOST_CLAIM}


async def test_a_claim_that_nobody_asserts_again(outside: Outside, rolled_back: Any) -> None:
    """Redis forgot it, and the process that answered it lives and does not assert it."""
    _, outages = await outside.forgotten(rolled_back)
    assert await outside.kinds(outages=outages) == {Kind.LOST_CLAIM}


async def test_a_claim_whose_server_died_with_redis_is_excused_and_counted(
    outside: Outside, rolled_back: Any
) -> None:
    """Claims of other servers or other seconds are not, and a link given twice never is."""
    died_at, outages = await outside.forgotten(rolled_back)
    verdict = await outside.verdict(outages=outages, deaths={SERVER: [died_at]})
    assert verdict.violations == ()
    assert verdict.excused == 1
    for deaths in ({SERVER + 1: [died_at]}, {SERVER: [died_at - 60]}, {SERVER: [died_at + 60]}):
        assert await outside.kinds(outages=outages, deaths=deaths) == {Kind.LOST_CLAIM}
    later = [Outage(died_at + FORGETS_SECONDS + 1, died_at + FORGETS_SECONDS + 2)]
    deaths = {SERVER: [died_at + FORGETS_SECONDS + 1]}
    assert await outside.kinds(outages=later, deaths=deaths) == {Kind.LOST_CLAIM}


async def test_a_webhook_that_stays_in_the_inbox(outside: Outside) -> None:
    """It was answered 2xx, and was never settled."""
    await outside.webhook("settled")
    await outside.webhook("waiting", settle=False)
    assert await outside.kinds() == {Kind.LOST_WEBHOOK}


async def test_a_webhook_that_never_reached_the_inbox(outside: Outside) -> None:
    """It was answered 2xx before it was written."""
    outside.tape.accepted("an event nobody kept")
    assert await outside.kinds() == {Kind.LOST_WEBHOOK}


# -- the pool ---------------------------------------------------------------------------


async def test_a_link_added_without_its_row(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated slug of the provider could not be refused."""

    async def none(_: Links, links: Any) -> set[str]:
        return {link.slug for link in links}

    monkeypatch.setattr(Links, "insert_fresh", none)
    await outside.stage.top_up("b-1")
    assert await outside.kinds() == {Kind.STALE_POOL}


async def test_a_booked_link_that_stays_in_the_pool(
    outside: Outside, broken_script: Callable[..., None]
) -> None:
    """A link that leaked was booked, and would be given to the next customer."""
    broken_script("mark", "redis.call('ZREM', KEYS[1], ARGV[1])", "0")
    await outside.stage.book("a-1", State.CONSUMED)
    assert await outside.kinds() == {Kind.STALE_POOL}


async def test_a_slug_the_provider_never_gave(outside: Outside) -> None:
    """A link that the provider does not know cannot be booked."""
    assert await outside.kinds(provider=frozenset({"a-1", "a-2"})) == {Kind.BAD_SLUG}


async def test_a_slug_with_bad_characters(outside: Outside) -> None:
    """It is found, whatever way it took."""
    await outside.stage.top_up("<b-1>")
    assert await outside.kinds() == {Kind.BAD_SLUG}


# -- stock and budget, with a provider --------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Run a Redis, a ledger and a provider; top-up runs in this process."""
    with Processes(proxied=False, PROVIDER_RATE="20") as started:
        started.start_sandbox("--latency-seconds", "0.01")
        yield started


def topped_up(processes: Processes, sid: str, links: int = 20) -> Verdict:
    """Run top-up once for a meeting that wants this many links. Return the checker's verdict."""
    processes.control("POST", "reset")
    processes.open(Meeting(sid, min_fresh=links, max_fresh=links))
    processes.work(lambda parts: top_up_task(parts, "default"))
    processes.saw_stock(sid, links + 16)
    budget = Budget(processes.calls(), per_second=40.0, burst=10)
    return check(processes.evidence(Tape(), sid, budget=budget))


def found(verdict: Verdict) -> set[Kind]:
    """Return the kinds of its violations."""
    return {violation.kind for violation in verdict.violations}


@contextmanager
def looked_at_alone(processes: Processes) -> Iterator[None]:
    """Judge the evidence of this test alone, without what was seen before."""
    processes.stock_seen.clear()
    try:
        yield
    finally:
        processes.stock_seen.clear()


async def _at_once(*_: Any, **__: Any) -> bool:
    return True


def test_top_up_keeps_to_target_and_budget(processes: Processes) -> None:
    """A sound top-up gives no finding."""
    with looked_at_alone(processes):
        assert topped_up(processes, "sound").violations == ()


def test_a_top_up_that_does_not_know_when_to_stop(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It plans more links than the target."""

    def plan(needs: list[Need], _: int) -> list[Need]:
        return [need for need in needs if need.sid == "too-many"] * 60

    monkeypatch.setattr(top_up, "plan", plan)
    monkeypatch.setattr(top_up, "RUN_SECONDS", 1.5)
    with looked_at_alone(processes):
        assert found(topped_up(processes, "too-many", links=2)) == {Kind.OVERSTOCK}


def test_a_top_up_that_heeds_no_budget(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks the provider at full speed."""
    monkeypatch.setattr(LinkMaker, "wait_turn", _at_once)
    with looked_at_alone(processes):
        assert found(topped_up(processes, "too-fast")) == {Kind.OVER_BUDGET}
