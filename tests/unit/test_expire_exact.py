"""Test what tasks take out of pools to the letter, and which streams they record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from pool.model.links import State
from pool.model.outcomes import EVERYWHERE
from pool.store import key_names
from tests.in_process import InProcess
from worker import (
    erase,
    expire,
    record,
    recover,
)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

# -- expire ----------------------------------------------------------------------------------


async def test_what_expires_is_counted_meeting_by_meeting(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of steps is summed, and a pool whose fence fell is left alone."""
    monkeypatch.setattr(expire, "_LINKS_PER_STEP", 2)
    counted: list[tuple[str, str, int]] = []
    monkeypatch.setattr(product.parts.outcomes, "count", lambda *args: counted.append(args))
    now_ms = await product.store.now_ms()
    for sid in ("old", "astray", "fallen", "well"):
        await product.meeting(sid, max_fresh_age_seconds=3_600)
        made_at = now_ms - 7_200_000 if sid != "well" else now_ms - 60_000
        slugs = [f"{sid}-{n}" for n in range(5)]
        await product.stock(sid, *slugs, made_at_ms=made_at)
        if sid == "astray":
            await product.store.stock.withdraw(sid, slugs[:3])
            await product.meeting(sid, is_open=False, max_fresh_age_seconds=99_999_999)
    await product.redis.bare.delete(key_names.epoch("fallen"))
    await expire.expire(product.parts)
    assert sorted(counted) == [("astray", "quarantined", 3), ("old", "retired", 5)]
    assert product.metric("linkpool_quarantined_links_total") == 3
    assert await product.states("old") == {State.RETIRED: 5}
    assert await product.states("astray") == {State.QUARANTINED: 3, State.FRESH: 2}
    assert await product.states("fallen") == {State.FRESH: 5}
    assert await product.states("well") == {State.FRESH: 5}
    assert await product.pooled("astray") == ["astray-3", "astray-4"]


async def test_astray_links_are_sought_ten_steps_at_a_time(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is recorded before and after the look, and claimed links are not moved."""
    monkeypatch.setattr(expire, "_LINKS_PER_STEP", 1)
    await product.meeting("intro")
    now = datetime.now(UTC)
    old_ms = round(now.timestamp() * 1000) - 600_000
    slugs = [f"a-{n:02}" for n in range(12)]
    await product.stock("intro", *slugs, made_at_ms=old_ms)
    await product.store.stock.withdraw("intro", slugs[1:])
    await product.claim("intro", "ann")
    recorded: list[str] = []
    real = product.parts.recorder.record

    async def noted(sid: str) -> int:
        recorded.append(sid)
        return await real(sid)

    monkeypatch.setattr(product.parts.recorder, "record", noted)
    assert await expire.quarantine_astray(product.parts, "intro", now) == 10
    assert recorded == ["intro", "intro"]
    assert await product.states("intro") == {
        State.CLAIMED: 1, State.QUARANTINED: 10, State.FRESH: 1,
    }  # fmt: skip
    assert await expire.quarantine_astray(product.parts, "intro", now) == 1
    recorded.clear()
    assert await expire.quarantine_astray(product.parts, "intro", now) == 0
    assert recorded == ["intro"]


async def test_strangers_are_sought_among_the_oldest(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps at a time; a link that the ledger has in another state is one."""
    monkeypatch.setattr(expire, "_LINKS_PER_STEP", 1)
    await product.meeting("intro")
    slugs = [f"a-{n:02}" for n in range(12)]
    await product.stock("intro", *slugs)
    await product.ledger.links.move(
        [slugs[0], slugs[9], slugs[10]], State.RETIRED, at=datetime.now(UTC)
    )
    assert await expire.withdraw_strangers(product.parts, "intro") == 2
    left = [slug for slug in slugs if slug not in (slugs[0], slugs[9])]
    assert await product.pooled("intro") == left
    assert await expire.withdraw_strangers(product.parts, "intro") == 1


async def test_pruning_takes_ten_seconds_at_most_and_says_what_it_did() -> None:
    asked: list[tuple[int, float]] = []
    done = SimpleNamespace(events=0, bodies=2)

    async def run(days: int, *, seconds: float) -> Any:
        asked.append((days, seconds))
        return done

    parts: Any = SimpleNamespace(
        settings=SimpleNamespace(inbox_retention_days=30),
        ledger=SimpleNamespace(retention=SimpleNamespace(run=run)),
    )
    lines: list[list[Any]] = []
    for events, bodies in ((0, 2), (3, 0), (0, 0)):
        done.events, done.bodies = events, bodies
        with capture_logs() as found:
            await erase.prune(parts)
        lines.append([(line["events"], line["bodies"]) for line in found])
    assert lines == [[(0, 2)], [(3, 0)], []]
    assert asked == [(30, 10.0)] * 3


@pytest.mark.parametrize(
    ("days", "links", "asks", "said"), [(400, 3, 1, 1), (400, 0, 1, 0), (0, 3, 0, 0)]
)
async def test_old_links_are_pruned_for_five_seconds_with_rests_between(
    monkeypatch: pytest.MonkeyPatch, days: int, links: int, asks: int, said: int
) -> None:
    """The slower clock counts, and nothing is pruned where links are kept for good."""
    now, asked = datetime(2026, 5, 1, tzinfo=UTC), list[Any]()

    async def clock(_parts: object) -> datetime:
        return now

    async def run(before: datetime, **how: float) -> Any:
        asked.append((before, how))
        return SimpleNamespace(links=links, bookings=2)

    monkeypatch.setattr(erase, "earlier_clock", clock)
    parts: Any = SimpleNamespace(
        settings=SimpleNamespace(ledger_retention_days=days), pruner=SimpleNamespace(run=run)
    )
    with capture_logs() as lines:
        await erase.prune_links(parts)
    assert asked == [(now - timedelta(days=400), {"seconds": 5.0, "rest": 2.0})] * asks
    assert [(line["links"], line["bookings"]) for line in lines] == [(3, 2)] * said


# -- record and recover ------------------------------------------------------------------------


async def test_one_worker_records_a_meeting_and_one_all_of_them(product: InProcess) -> None:
    """It leaves alone what another process is working on."""
    for sid in ("a", "b", "idle"):
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1", f"{sid}-2")
    await product.claim("a", "ann", "ben")
    await product.claim("b", "ann")
    assert await record.backlogged(product.parts) == ["a", "b"]
    held = product.store.locks.held
    async with held(key_names.task_lock("record-all")):
        assert await record.record(product.parts, None) == 0
        assert await record.record(product.parts, "b") == 1
    async with held(key_names.task_lock("record:a")):
        assert await record.record(product.parts, None) == 0
        assert await record.record(product.parts, "a") == 0
    assert await record.record(product.parts, None) == 2
    assert await record.record(product.parts, None) == 0
    assert await record.backlogged(product.parts) == []


async def test_recovery_waits_a_moment_for_all_pools_together(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker does it; workspaces whose pools are empty now are topped up."""
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(recover, "asyncio", SimpleNamespace(sleep=rest))
    for sid in ("a", "b"):
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1")
    assert await recover.recover(product.parts) == set()
    assert rests == []
    await product.redis.restart()
    async with product.store.locks.held(key_names.task_lock("recover")):
        assert await recover.recover(product.parts) == set()
    await product.store.tallies.add({("a", "empty"): 3})
    asked: list[Any] = []
    real = product.parts.recovery.recover_all

    async def noted(fallen: Any, **how: Any) -> Any:
        asked.append((sorted(fallen), how["grace_seconds"]))
        return await real(fallen, **how)

    monkeypatch.setattr(product.parts.recovery, "recover_all", noted)
    before = datetime.now(UTC)
    assert await recover.recover(product.parts) == {"default"}
    assert rests == [recover.GRACE_SECONDS]
    assert asked == [(["a", "b"], 0.0)]
    [fence] = await product.ledger.incidents.latest(9)
    assert (fence.links_lost, fence.baseline) == (2, 3)
    assert abs(fence.began_at - before) < timedelta(minutes=1)
    assert (await product.store.tallies.totals([EVERYWHERE])).turned_away == 3
    assert await recover.recover(product.parts) == set()
