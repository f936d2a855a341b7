"""Test the workers' rounds: record, recover, lapse, settle and sweep, each on all meetings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pool.errors import LedgerUnavailable
from pool.ledger.records import NewEvent
from pool.model.links import State
from pool.nudges import RECORD, RECOVER, SETTLE, TOP_UP
from pool.store import key_names
from pool.store.records import Span, payload
from tests.in_process import InProcess, in_process
from worker.expire import expire
from worker.lapse import earlier_clock, lapse
from worker.record import backlogged, record
from worker.recover import recover
from worker.sweep import sweep

NO_GRACE = "worker.recover.GRACE_SECONDS"


async def claims(product: InProcess, sid: str, count: int) -> None:
    """Claim a link for each of this many customers of a meeting."""
    slugs = [f"{sid}-{number:05d}" for number in range(count)]
    level = await product.level(sid)
    for start in range(0, count, 500):
        await product.store.add(sid, level.epoch, slugs[start : start + 500], level.now_ms)
    names = [(product.store.names.name(sid, f"c{n}"), payload(f"c{n}")) for n in range(count)]
    for start in range(0, count, 50):
        await product.store.claim(sid, names[start : start + 50])


# -- record ----------------------------------------------------------------------------


async def test_every_claim_is_recorded_however_many_there_are(product: InProcess) -> None:
    """More than two batches of the recorder, in one run; then nothing is left of the stream."""
    await product.meeting("intro")
    await claims(product, "intro", 4_150)
    assert await record(product.parts, "intro") == 4_150
    assert await product.states("intro") == {State.CLAIMED: 4_150}
    assert (await product.level("intro")).backlog == 0
    assert await product.redis.bare.xlen(key_names.claims("intro")) == 0
    last = await product.ledger.links.claim_of("intro", "c4149")
    assert last is not None
    assert await record(product.parts, "intro") == 0


async def test_a_batch_that_is_written_leaves_the_stream_though_the_next_one_fails(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims that were not written stay, and are written by the next run."""
    monkeypatch.setattr("pool.durability.recorder.CLAIMS_PER_WRITE", 100)
    await product.meeting("intro")
    await claims(product, "intro", 250)
    write, batches = product.ledger.links.record, []

    async def once(batch: Any) -> Any:
        batches.append(len(batch))
        if len(batches) == 2:
            raise LedgerUnavailable("away")
        return await write(batch)

    monkeypatch.setattr(product.ledger.links, "record", once)
    with pytest.raises(LedgerUnavailable):
        await product.parts.recorder.record("intro")
    assert (await product.level("intro")).backlog == 250 - batches[0]
    await product.parts.recorder.record("intro")
    assert await product.states("intro") == {State.CLAIMED: 250}


async def test_what_is_recorded_of_a_claim_is_what_was_answered(product: InProcess) -> None:
    """The customer, their e-mail and metadata, the address, and until when it holds."""
    meeting = await product.meeting("intro", claim_ttl_seconds=3_600)
    await product.stock("intro", "one-off-1")
    name = product.store.names.name("intro", "ann")
    await product.store.claim("intro", [(name, payload("ann", "ann@b.example", {"order": 7}))])
    held = await product.store.claim_of("intro", "ann")
    assert held is not None
    await record(product.parts, "intro")
    row = await product.ledger.links.get("one-off-1")
    assert row is not None
    assert (row.customer_id, row.email, row.metadata) == ("ann", "ann@b.example", {"order": 7})
    assert row.url == f"{product.provider.link_url}/one-off-1"
    assert row.claimed_at is not None
    assert round(row.claimed_at.timestamp() * 1000) == held.claimed_at_ms
    assert row.lapses_at == row.claimed_at + timedelta(seconds=meeting.claim_ttl_seconds)


async def test_all_meetings_with_claims_are_recorded(product: InProcess) -> None:
    """Meetings without claims are not read."""
    for sid in ("busy", "idle", "other"):
        await product.meeting(sid)
    await claims(product, "busy", 3)
    await claims(product, "other", 2)
    assert sorted(await backlogged(product.parts)) == ["busy", "other"]
    assert await record(product.parts, None) == 5
    assert await product.states("busy") == {State.CLAIMED: 3}
    assert await product.states("other") == {State.CLAIMED: 2}


async def test_one_worker_records_all_at_a_time(product: InProcess) -> None:
    """Another still records a meeting that it is asked for, unless that is being recorded."""
    await product.meeting("intro")
    await claims(product, "intro", 2)
    async with product.store.locks.held(key_names.task_lock("record-all")):
        assert await record(product.parts, None) == 0
        async with product.store.locks.held(key_names.task_lock("record:intro")):
            assert await record(product.parts, "intro") == 0
        assert await record(product.parts, "intro") == 2


# -- recover ---------------------------------------------------------------------------


async def test_every_fallen_pool_is_recovered_and_its_workspace_topped_up(
    fake_redis: Any, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh links are set aside, claims stay whose they were."""
    monkeypatch.setattr(NO_GRACE, 0.0)
    async with in_process(fake_redis, sqlite_url, "default", "other", "quiet") as product:
        for sid, workspace in (("intro", "default"), ("demo", "other")):
            await product.meeting(sid, workspace=workspace)
            await product.stock(sid, f"{sid}-1", f"{sid}-2")
        assert await product.claim("intro", "ann") == ["intro-1"]
        await record(product.parts, None)
        await product.redis.restart()
        assert await recover(product.parts) == {"default", "other"}
        for sid in ("intro", "demo"):
            level = await product.level(sid)
            assert (level.fence, level.fresh) == ("stands", 0)
        assert await product.state("intro-1") is State.CLAIMED
        assert await product.state("intro-2") is State.QUARANTINED
        assert await product.claim("intro", "ann", "ben") == ["intro-1", ""]
        assert await recover(product.parts) == set()


async def test_one_recovery_at_a_time(product: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second leaves the pools to the first."""
    monkeypatch.setattr(NO_GRACE, 0.0)
    await product.meeting("intro", is_open=False)
    async with product.store.locks.held(key_names.task_lock("recover")):
        assert await recover(product.parts) == set()
        assert (await product.level("intro")).fence == "fallen"
    assert await recover(product.parts) == {"default"}
    assert (await product.level("intro")).fence == "stands"


async def test_who_answered_is_waited_for_once(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is for all fallen pools together; where none fell there is no wait."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    await product.meeting("intro")
    await product.meeting("demo")
    monkeypatch.setattr("worker.recover.asyncio", SimpleNamespace(sleep=wait))
    await recover(product.parts)
    assert waits == []
    await product.redis.restart()
    await recover(product.parts)
    assert len(waits) == 1
    assert waits[0] >= 1.0


# -- lapse -----------------------------------------------------------------------------


def clock(at: datetime) -> Any:
    """Return a `datetime` whose now is this."""
    return SimpleNamespace(now=lambda _zone: at)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_of_two_clocks_the_earlier_counts(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """One that has run ahead must end nobody's claim."""
    now = datetime.now(UTC)
    monkeypatch.setattr("worker.lapse.datetime", clock(now + ahead))
    found = await earlier_clock(product.parts)
    assert abs(found - min(now, now + ahead)) < timedelta(seconds=5)


async def test_a_claim_lapses_when_its_time_is_over_and_not_before(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A booked one never does."""
    await product.meeting("intro", claim_ttl_seconds=600)
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann", "ben")
    await record(product.parts, "intro")
    await product.book("a-2", sid="b1")
    for passed, state in ((590, State.CLAIMED), (610, State.LAPSED)):
        later = datetime.now(UTC) + timedelta(seconds=passed)

        async def now_ms(at: datetime = later) -> int:
            return round(at.timestamp() * 1000)

        with monkeypatch.context() as patch:
            patch.setattr("worker.lapse.datetime", clock(later))
            patch.setattr(product.store, "now_ms", now_ms)
            await lapse(product.parts)
        assert await product.state("a-1") is state
        assert await product.state("a-2") is State.CONSUMED


# -- expire ----------------------------------------------------------------------------

HOUR = 3_600


async def ago_ms(product: InProcess, seconds: int) -> int:
    return await product.store.now_ms() - 1_000 * seconds


async def test_old_links_are_retired_and_no_others(product: InProcess) -> None:
    """One old link takes no young one with it; the retired are in the ledger as such."""
    await product.meeting("intro", max_fresh_age_seconds=HOUR)
    await product.stock("intro", "old-1", "old-2", made_at_ms=await ago_ms(product, HOUR + 60))
    await product.stock("intro", "young-1", made_at_ms=await ago_ms(product, HOUR - 60))
    await product.stock("intro", "young-2")
    await expire(product.parts)
    assert await product.pooled("intro") == ["young-1", "young-2"]
    assert await product.states("intro") == {State.RETIRED: 2, State.FRESH: 2}
    assert await product.state("old-1") is State.RETIRED


async def test_each_meetings_own_age_counts(product: InProcess) -> None:
    """A pool without old links is left as it is."""
    await product.meeting("strict", max_fresh_age_seconds=HOUR)
    await product.meeting("patient", max_fresh_age_seconds=3 * HOUR)
    for sid in ("strict", "patient"):
        await product.stock(sid, f"{sid}-1", made_at_ms=await ago_ms(product, 2 * HOUR))
    await expire(product.parts)
    assert await product.pooled("strict") == []
    assert await product.pooled("patient") == ["patient-1"]


async def test_more_old_links_than_a_batch_are_all_retired(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run retires them all."""
    monkeypatch.setattr("worker.expire._LINKS_PER_STEP", 2)
    await product.meeting("intro", max_fresh_age_seconds=HOUR)
    slugs = [f"old-{number}" for number in range(5)]
    await product.stock("intro", *slugs, made_at_ms=await ago_ms(product, 2 * HOUR))
    await expire(product.parts)
    assert await product.states("intro") == {State.RETIRED: 5}


async def astray(product: InProcess, *slugs: str, seconds: int) -> None:
    """Write links that are fresh in the ledger, and in no pool."""
    await product.stock("intro", *slugs, made_at_ms=await ago_ms(product, seconds))
    await product.store.stock.withdraw("intro", slugs)


async def test_links_that_went_astray_are_set_aside(product: InProcess) -> None:
    """A visitor's page may show them. Those in the pool stay, and so do those just made."""
    await product.meeting("intro")
    await product.stock("intro", "pooled-1", made_at_ms=await ago_ms(product, 300))
    await astray(product, "lost-1", "lost-2", seconds=90)
    await astray(product, "new-1", seconds=20)
    await expire(product.parts)
    assert await product.state("lost-1") is State.QUARANTINED
    assert await product.state("lost-2") is State.QUARANTINED
    assert await product.state("new-1") is State.FRESH
    assert await product.pooled("intro") == ["pooled-1"]
    assert product.metric("linkpool_quarantined_links_total") == 2


async def test_more_astray_links_than_a_batch_are_all_found(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links that are in the pool are not among them."""
    monkeypatch.setattr("worker.expire._LINKS_PER_STEP", 2)
    await product.meeting("intro")
    await product.stock("intro", "p-1", "p-2", "p-3", made_at_ms=await ago_ms(product, 200))
    await astray(product, *(f"lost-{number}" for number in range(5)), seconds=100)
    await expire(product.parts)
    assert await product.states("intro") == {State.FRESH: 3, State.QUARANTINED: 5}


async def test_a_link_claimed_between_two_looks_did_not_go_astray(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is out of the pool by then, and in nobody's stead set aside."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2", made_at_ms=await ago_ms(product, 300))
    await product.store.stock.withdraw("intro", ["a-1"])
    pooled = product.store.stock.pooled

    async def claimed_first(sid: str, slugs: Any) -> list[bool]:
        await product.claim("intro", "ann")
        return await pooled(sid, slugs)

    monkeypatch.setattr(product.store.stock, "pooled", claimed_first)
    await expire(product.parts)
    assert await product.state("a-1") is State.QUARANTINED
    assert await product.state("a-2") is State.CLAIMED
    assert product.metric("linkpool_quarantined_links_total") == 1


async def test_a_claimed_link_did_not_go_astray(product: InProcess) -> None:
    """Its claim is still on its way to the ledger: it is recorded first."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", made_at_ms=await ago_ms(product, 300))
    assert await product.claim("intro", "ann") == ["a-1"]
    await expire(product.parts)
    row = await product.ledger.links.get("a-1")
    assert row is not None
    assert (row.state, row.customer_id) == (State.CLAIMED, "ann")
    assert row.match is None


async def test_what_the_ledger_does_not_call_fresh_leaves_the_pool(product: InProcess) -> None:
    """A link that was set aside or never known leaves the pool; fresh ones stay."""
    await product.meeting("intro")
    await product.stock("intro", "a-1", "a-2", "a-3")
    await product.ledger.links.move(["a-2"], State.QUARANTINED, at=datetime.now(UTC))
    level = await product.level("intro")
    await product.store.add("intro", level.epoch, ["stranger"], level.now_ms)
    await expire(product.parts)
    assert await product.pooled("intro") == ["a-1", "a-3"]


async def test_a_pool_whose_fence_fell_is_left_to_recovery(product: InProcess) -> None:
    """Its contents cannot be trusted."""
    await product.meeting("intro", max_fresh_age_seconds=HOUR)
    await product.stock("intro", "old-1", made_at_ms=await ago_ms(product, 2 * HOUR))
    await product.redis.restart()
    await expire(product.parts)
    assert await product.state("old-1") is State.FRESH


# -- sweep -----------------------------------------------------------------------------


async def due(product: InProcess) -> dict[str, list[dict[str, Any]]]:
    """Return the tasks that a sweep calls for, with their arguments."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for name, arguments in await sweep(product.parts):
        tasks.setdefault(name, []).append(arguments)
    return tasks


async def test_where_all_is_well_nothing_is_due(product: InProcess) -> None:
    """Only a heartbeat is written."""
    await product.meeting("intro", min_fresh=1, max_fresh=1)
    await product.stock("intro", "a-1")
    assert await due(product) == {}
    beat = await product.store.last_heartbeat_ms()
    assert beat is not None
    assert abs(beat - await product.store.now_ms()) < 5_000


async def test_each_low_workspace_is_topped_up_once(fake_redis: Any, sqlite_url: str) -> None:
    """One hint is sent for any number of low pools; paused, full and fallen ones do not count."""
    async with in_process(fake_redis, sqlite_url, "default", "other", "full", "idle") as product:
        await product.meeting("one", min_fresh=2)
        await product.meeting("two", min_fresh=2)
        await product.meeting("three", min_fresh=2, workspace="other")
        await product.meeting("paused", min_fresh=2, workspace="idle", paused=True)
        await product.meeting("stocked", min_fresh=1, workspace="full")
        await product.stock("stocked", "s-1")
        tasks = await due(product)
        assert tasks == {TOP_UP: [{"workspace": "default"}, {"workspace": "other"}]}


async def test_a_fallen_pool_is_to_be_recovered_and_not_topped_up(product: InProcess) -> None:
    """Its links could not enter."""
    await product.meeting("intro", is_open=False)
    assert await due(product) == {RECOVER: [{}]}


async def test_claims_in_a_stream_are_to_be_recorded(product: InProcess) -> None:
    """One task is asked for, for all meetings."""
    await product.meeting("intro", min_fresh=0, max_fresh=1)
    await product.stock("intro", "a-1", "a-2")
    await product.claim("intro", "ann")
    assert (await due(product))[RECORD] == [{}]
    await record(product.parts, None)
    assert RECORD not in await due(product)


async def test_meetings_that_redis_forgot_are_published_again(product: InProcess) -> None:
    """Meetings that were changed in the ledger alone are published again, too."""
    meeting = await product.meeting("intro", min_fresh=3)
    await product.redis.bare.delete(key_names.meeting("intro"), key_names.MEETINGS)
    await sweep(product.parts)
    assert await product.store.published.all() == [meeting]
    changed = await product.ledger.meetings.get("intro")
    assert changed is not None
    await product.ledger.meetings.put(type(meeting)("intro", min_fresh=9))
    await sweep(product.parts)
    assert [each.min_fresh for each in await product.store.published.all()] == [9]


async def test_a_booking_that_waits_is_to_be_settled(product: InProcess) -> None:
    """A booking calls for settling until it is settled."""
    await product.meeting("intro", min_fresh=0, max_fresh=1)
    event = NewEvent("e-1", "default", "webhook", "booked", b"{}", datetime.now(UTC))
    await product.ledger.inbox.add(event)
    assert (await due(product))[SETTLE] == [{}]


async def test_a_sweep_keeps_the_history(product: InProcess) -> None:
    """Every meeting has a sample with its level and its target."""
    await product.meeting("intro", min_fresh=3, max_fresh=3)
    await product.stock("intro", "a-1", "a-2")
    for _ in range(2):
        await sweep(product.parts)
    [series] = await product.store.history.read_all(["intro"], Span.HOUR)
    assert {(each.level, each.target) for each in series.samples} == {(2, 3)}
