"""Test recovery on a real Redis: restarted, killed, and started from an older file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.on_demand import NoLinksOnDemand
from pool.durability.fence_watch import FenceWatch
from pool.durability.recent_claims import RecentClaims
from pool.durability.reopening import Recovered
from pool.errors import Fenced
from pool.model.links import State
from pool.store import Store
from tests.any_redis import SECRET_KEY, AnyRedis, copy_of_its_file, start_from_copy
from tests.late_replies import late_replies
from tests.ledger_backup import backup_of, restore
from tests.redis_process import RedisServer
from tests.unit.recorder_contract import *  # noqa: F403 - the contract's tests
from tests.unit.recovery_contract import *  # noqa: F403
from tests.unit.recovery_disturbed_contract import *  # noqa: F403
from tests.unit.recovery_stage import *  # noqa: F403
from tests.unit.recovery_stage import NEW, REUSED, SID, Stage


@pytest.fixture
def any_redis(real_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return real_redis


async def test_a_killed_redis_is_recovered(stage: Stage, redis_server: RedisServer) -> None:
    """After SIGKILL the bindings are restored, and links that were fresh are set aside."""
    await stage.claim("ann")
    await asyncio.to_thread(redis_server.kill)
    await asyncio.to_thread(redis_server.start)
    assert await stage.recover() is Recovered.QUARANTINED
    assert stage.quarantined == [2]
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_a_redis_from_an_older_file_gives_no_link_twice(
    stage: Stage, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Both links are fresh in the file; the ledger and the API process know that they are
    claimed.
    """
    copy = tmp_path / "copy"
    copy.mkdir()
    copy_of_its_file(redis_server, copy)
    await stage.claim("ann")
    await stage.recorder.record(SID)
    answered = await stage.answered("bob")
    await asyncio.to_thread(start_from_copy, redis_server, copy)
    assert await stage.pooled() == ["a-1", "a-2", "a-3"], "it has forgotten both claims"
    await stage.store.assert_again(SID, [answered])
    assert await stage.recover() is Recovered.QUARANTINED
    await stage.top_up("b-1")
    assert await stage.claim("cyd") == (NEW, "b-1")
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.claim("bob") == (REUSED, "a-2")
    assert [await stage.state(slug) for slug in ("a-1", "a-2", "a-3")] == [
        State.CLAIMED,
        State.CLAIMED,
        State.QUARANTINED,
    ]


async def test_an_older_file_that_holds_a_spent_seal_is_not_adopted(
    stage: Stage, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The backup was made during a planned stop, and is restored a day later."""
    copy = tmp_path / "copy"
    copy.mkdir()
    await stage.fence.seal([SID])
    copy_of_its_file(redis_server, copy)
    await asyncio.to_thread(redis_server.restart)
    assert await stage.recover() is Recovered.ADOPTED
    await stage.claim("ann")
    await stage.recorder.record(SID)
    await asyncio.to_thread(start_from_copy, redis_server, copy)
    assert await stage.pooled() == ["a-1", "a-2", "a-3"]
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.claim("ann") == (REUSED, "a-1")
    assert await stage.pooled() == []


@pytest.mark.parametrize("declared", [True, False])
async def test_a_restore_of_both_halves_gives_no_link_twice(
    stage: Stage, redis_server: RedisServer, any_url: str, tmp_path: Path, declared: bool
) -> None:
    """Redis and ledger are restored to one sealed moment, after which a customer was served.

    Nothing in either half can show it. `linkpool db restored` says it; without that command the
    seal is believed, and the link goes out once more, which is why docs/operations.md insists on
    it.
    """
    copy = tmp_path / "copy"
    copy.mkdir()
    await stage.fence.seal([SID])
    copy_of_its_file(redis_server, copy)
    backup = await backup_of(any_url)
    await asyncio.to_thread(redis_server.restart)
    assert await stage.recover() is Recovered.ADOPTED
    assert await stage.claim("ann") == (NEW, "a-1")
    await asyncio.to_thread(start_from_copy, redis_server, copy)
    await restore(any_url, backup)
    if not declared:
        assert await stage.recover() is Recovered.ADOPTED
        assert await stage.claim("bob") == (NEW, "a-1")
        return
    assert await stage.ledger.meetings.forget_seals() == 1
    assert await stage.recover() is Recovered.QUARANTINED
    await stage.top_up("b-1")
    assert await stage.claim("bob") == (NEW, "b-1")


async def test_a_restored_ledger_under_a_redis_that_went_on_gives_no_link_twice(
    stage: Stage, any_url: str
) -> None:
    """Only the ledger is restored to an older copy; Redis keeps its data.

    Customers keep their links while Redis knows them. Links that are fresh in the old ledger are
    not handed out again, and claims of links that it lacks are recorded anew.
    """
    backup = await backup_of(any_url)
    assert await stage.claim("ann") == (NEW, "a-1")
    await stage.recorder.record(SID)
    await stage.top_up("b-1")
    await restore(any_url, backup)
    assert await stage.state("a-1") is State.FRESH
    assert await stage.claim("ann") == (REUSED, "a-1")
    served = [(await stage.claim(who))[1] for who in ("bob", "cyd", "dan")]
    assert served == ["a-2", "a-3", "b-1"]
    await stage.recorder.record(SID)
    assert await stage.state("b-1") is State.CLAIMED
    await stage.redis.fail_back()
    assert await stage.recover() is Recovered.QUARANTINED
    assert await stage.state("a-1") is State.QUARANTINED
    assert await stage.pooled() == []


async def test_an_answer_of_before_the_fall_that_is_read_late_is_not_lost(
    stage: Stage, redis_server: RedisServer
) -> None:
    """Redis binds a link and loses all; its reply arrives after the process has asserted again.

    Were it answered then, the customer could come back to the recovered pool for a second link.
    """
    async with late_replies(redis_server) as way, Process.at(way.url, stage) as process:
        assert await process.slug("zoe") == "a-1"
        way.hold()
        late = asyncio.create_task(process.desk.claim(SID, "ann"))
        async with asyncio.timeout(30):
            while await stage.store.claim_of(SID, "ann") is None:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)
        await stage.redis.bare.flushall()
        await process.notice()
        way.release()
        [answer] = await asyncio.gather(late, return_exceptions=True)
        assert await stage.recover() is Recovered.QUARANTINED
        await stage.top_up("b-1")
        again = await process.slug("ann")
        assert isinstance(answer, Fenced) or answer.claim.slug == again  # type: ignore[union-attr]
        assert await process.slug("zoe") == "a-1"


async def test_what_was_asserted_is_asserted_anew_if_redis_loses_that_too(
    stage: Stage, redis_server: RedisServer
) -> None:
    """The pool is not recovered yet, so only the process knows of the claim."""
    async with Process.at(redis_server.url(), stage) as process:
        assert await process.slug("zoe") == "a-1"
        for _ in range(2):
            await stage.redis.bare.flushall()
            await process.notice()
        assert await stage.recover() is Recovered.QUARANTINED
        await stage.top_up("b-1")
        assert await process.slug("zoe") == "a-1"
        assert await stage.state("a-1") is State.CLAIMED


class Process:
    """The parts of an API process that serve claims, on the way to Redis that it is given."""

    def __init__(self, url: str, stage: Stage) -> None:
        self.store, recent = Store.open(url, SECRET_KEY), RecentClaims()
        known = KnownMeetings(stage.store, stage.ledger)
        heeds = dict.fromkeys(("claimed", "low", "fenced", "batch", "outcome"), _heed)
        listener: Any = SimpleNamespace(**heeds)
        self.desk = Desk(
            self.store, known, recent, NoLinksOnDemand(), listener, timeout_seconds=60.0
        )
        self.now = time.monotonic()
        self.watch = FenceWatch(self.store, recent, lambda: self.now)
        self.watch.gives_up(self.desk.give_up)

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str, stage: Stage) -> AsyncIterator[Process]:
        process = cls(url, stage)
        try:
            yield process
        finally:
            await process.desk.close()
            await process.store.close()

    async def slug(self, who: str) -> str:
        return (await self.desk.claim(SID, who)).claim.slug

    async def notice(self) -> None:
        """Look at the fence some moments later, and assert what was answered."""
        self.now += 0.4
        await self.watch.look()
        await asyncio.gather(*self.watch._tasks)


def _heed(*_: object) -> None:
    """Take note of nothing."""
