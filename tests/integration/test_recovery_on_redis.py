"""Test recovery on a real Redis: restarted, killed, and started from an older file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pool.durability.recovery import Recovered
from pool.model.links import State
from tests.any_redis import AnyRedis, copy_of_its_file, start_from_copy
from tests.ledger_backup import backup_of, restore
from tests.redis_process import RedisServer
from tests.unit.recovery_contract import *  # noqa: F403 - the contract's tests
from tests.unit.recovery_contract import NEW, REUSED, SID, Stage


@pytest.fixture
def any_redis(real_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return real_redis


async def test_a_killed_redis_is_recovered(stage: Stage, redis_server: RedisServer) -> None:
    """After SIGKILL the bindings are there, and what was fresh is set aside."""
    await stage.claim("ann")
    await asyncio.to_thread(redis_server.kill)
    await asyncio.to_thread(redis_server.start)
    assert await stage.recover() is Recovered.QUARANTINED
    assert stage.quarantined == [2]
    assert await stage.claim("ann") == (REUSED, "a-1")


async def test_a_redis_from_an_older_file_gives_no_link_twice(
    stage: Stage, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Redis believes that both links are fresh; the ledger and the process that answered know
    better.
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
    """The backup was made in the order of a planned stop, and put back a day later."""
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


@pytest.mark.parametrize("told", [True, False])
async def test_a_restore_of_both_halves_gives_no_link_twice(
    stage: Stage, redis_server: RedisServer, any_url: str, tmp_path: Path, told: bool
) -> None:
    """Redis and ledger are put back to one sealed moment, after which a customer was served.

    Nothing in either half can show it. `linkpool db restored` says it; without that word the seal
    is believed, and the link goes out once more, which is why docs/operations.md insists on it.
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
    if not told:
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
    """Who holds a link keeps it while Redis knows it; what the ledger calls fresh never goes out
    again, and claims of links that it does not know are written anew."""
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
