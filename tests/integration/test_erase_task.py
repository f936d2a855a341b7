"""Test the workers' part in erasing: they finish interrupted work, and keep the inbox bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pool.compose import Parts, compose
from pool.config.settings import Settings
from pool.errors import StoreUnavailable
from pool.ledger import EventState, RecordedClaim
from pool.ledger.records import NewEvent
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from tests.any_redis import AnyRedis
from tests.integration.erasure_stage import written
from tests.redis_process import RedisServer
from worker.erase import erase, rewrite_redis_file

SID = "intro"


@pytest.fixture
async def parts(redis_server: RedisServer, any_url: str, tmp_path: Path) -> AsyncIterator[Parts]:
    settings = Settings(redis_url=redis_server.url(), database_url=any_url, data_dir=tmp_path)
    async with compose(settings) as composed:
        await composed.ledger.meetings.put(Meeting(SID))
        yield composed


async def forget(parts: Parts, who: str, slug: str) -> None:
    """Erase in the ledger alone, like a process that dies at that point."""
    made = datetime.now(UTC)
    link = Link(slug, f"https://a/{slug}", SID, State.FRESH, "pool", "e", made)
    await parts.ledger.links.insert_fresh([link])
    claim = RecordedClaim(slug, link.url, SID, who, None, None, "pool", made, made)
    await parts.ledger.links.record([claim])
    names = parts.store.names
    await parts.ledger.links.forget(SID, who, names.name(SID, who), names.marks)


async def test_a_run_finishes_prunes_and_empties_the_log(parts: Parts, tmp_path: Path) -> None:
    """One run does everything that is due, and another finds nothing to do."""
    await forget(parts, "order-4711-a", "one-off-1")
    now = datetime.now(UTC)
    for event_id, days in (("old", 91), ("new", 1)):
        at = now - timedelta(days=days)
        await parts.ledger.inbox.add(NewEvent(event_id, "default", "webhook", "x", b"{}", at))
        await parts.ledger.inbox.finish(event_id, EventState.IGNORED)
    assert len(await parts.ledger.erased.unfinished()) == 1
    await erase(parts)
    assert await parts.ledger.erased.unfinished() == []
    assert [event.id for event in await parts.ledger.inbox.list()] == ["new"]
    log = tmp_path / "ledger.sqlite3-wal"  # of SQLite alone
    # What is noted after the log was emptied is small.
    assert not log.exists() or log.stat().st_size < 64_000
    await erase(parts)
    assert [event.id for event in await parts.ledger.inbox.list()] == ["new"]


async def test_one_step_that_fails_holds_up_no_other(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is away the inbox is still pruned, and the next run erases the customer."""

    async def away(*_: object) -> None:
        raise StoreUnavailable("Redis: away", connection_lost=True)

    await forget(parts, "order-4711-a", "one-off-1")
    old = datetime.now(UTC) - timedelta(days=91)
    await parts.ledger.inbox.add(NewEvent("old", "default", "webhook", "x", b"{}", old))
    await parts.ledger.inbox.finish("old", EventState.IGNORED)
    with monkeypatch.context() as patch:
        patch.setattr(parts.store.erasing, "drop", away)
        patch.setattr(parts.store.erasing, "rewrite_file", away)
        await erase(parts)
    assert await parts.ledger.inbox.list() == []
    assert len(await parts.ledger.erased.unfinished()) == 1
    await erase(parts)
    assert await parts.ledger.erased.unfinished() == []


async def test_redis_writes_its_file_anew_once_a_day_and_only_after_erasing(
    parts: Parts, real_redis: AnyRedis
) -> None:
    """A rewrite costs a fork, so it happens no more often than the promise needs."""
    await written(real_redis)
    assert await rewrite_redis_file(parts) is False
    await forget(parts, "order-4711-a", "one-off-1")
    assert await rewrite_redis_file(parts) is True
    assert await rewrite_redis_file(parts) is False
    await forget(parts, "order-4711-b", "one-off-2")
    assert await rewrite_redis_file(parts) is False, "the day is not over"
    await written(real_redis)
    yesterday = datetime.now(UTC) - timedelta(days=1, seconds=1)
    await parts.ledger.facts.put("redis-file-rewritten", yesterday.isoformat())
    assert await rewrite_redis_file(parts) is True
