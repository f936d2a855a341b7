"""Hold every real Redis server that is available here to the store's contract."""

from __future__ import annotations

import asyncio

import pytest

from pool.errors import Fenced, StoreUnavailable
from pool.model.links import Claim
from pool.store import Store, key_names
from pool.store.records import AnsweredClaim, Batch, Outcome, payload
from tests.any_redis import AnyRedis
from tests.servers import redis_servers
from tests.unit.store_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_contract import SID, claim, customer, open_pool
from tests.unit.store_replay_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_upkeep_contract import *  # noqa: F403 - the contract's tests


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of this module on each server."""
    if "any_redis" in metafunc.fixturenames:
        servers = redis_servers()
        metafunc.parametrize(
            "redis_server",
            list(servers.values()) or [None],
            ids=list(servers) or None,
            indirect=True,
        )


@pytest.fixture
def any_redis(real_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return real_redis


async def test_a_full_redis_refuses_and_nothing_is_half_written(any_redis: AnyRedis) -> None:
    """Claims, direct links, stock and assertions are refused, and succeed once there is room."""
    epoch = await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    before = await any_redis.everything()
    store = any_redis.store
    held = Claim(slug="a-9", state="claimed", source="pool", claimed_at_ms=1)
    await any_redis.bare.config_set("maxmemory", 1)
    for call in (
        store.claim(SID, [customer(store, "bob"), customer(store, "ann")]),
        store.bind(SID, epoch, "d-1", *customer(store, "cyd")),
        store.add(SID, epoch, ["a-3"], 1),
        store.assert_again(SID, [AnsweredClaim("dan", held, 1_000, payload("dan"))]),
    ):
        with pytest.raises(StoreUnavailable, match=r"maxmemory|OOM") as refused:
            await call
        assert refused.value.connection_lost is False
    assert await any_redis.everything() == before
    await any_redis.bare.config_set("maxmemory", 0)
    assert [slug for _, slug in await claim(any_redis, "bob")] == ["a-2"]


async def test_a_claim_held_needs_no_memory(any_redis: AnyRedis) -> None:
    """A full Redis still answers customers who hold a link."""
    await open_pool(any_redis, "a-1")
    [(_, slug)] = await claim(any_redis, "ann")
    await any_redis.bare.config_set("maxmemory", 1)
    assert [held for _, held in await claim(any_redis, "ann")] == [slug]


async def told_at_once(store: Store, *who: str) -> Batch | Exception | None:
    """Make a claim that waits for no connection. Return its outcome."""
    told: asyncio.Future[Batch | Exception | None] = asyncio.get_running_loop().create_future()
    customers = [customer(store, each) for each in who]
    assert store.claim_at_once(SID, customers, told.set_result) is not None
    return await told


async def test_a_claim_at_once_is_the_same_claim(any_redis: AnyRedis) -> None:
    """A customer who holds a link gets it, and others get a fresh one.

    An error is the one that `claim` raises, or a hint that asking again may help.
    """
    store = any_redis.store
    assert store.claim_at_once(SID, [customer(store, "ann")], pytest.fail) is None  # not connected
    await open_pool(any_redis, "a-1", "a-2", "a-3")
    ann = (await store.claim(SID, [customer(store, "ann")])).answers[0].claim
    batch = await told_at_once(store, "bob", "ann")
    assert isinstance(batch, Batch)
    assert [answer.outcome for answer in batch.answers] == [Outcome.NEW, Outcome.REUSED]
    assert (batch.answers[1].claim, batch.level) == (ann, 1)
    await any_redis.bare.config_set("maxmemory", 1)
    assert isinstance(await told_at_once(store, "cyd"), StoreUnavailable)
    await any_redis.bare.config_set("maxmemory", 0)
    await any_redis.bare.script_flush()
    assert await told_at_once(store, "cyd") is None
    await store.claim(SID, [customer(store, "cyd")])
    await any_redis.bare.delete(key_names.meeting(SID))
    assert await told_at_once(store, "ann") is None
    await any_redis.bare.delete(key_names.epoch(SID))
    assert isinstance(await told_at_once(store, "ann"), Fenced)


async def test_what_an_orderly_stop_leaves_is_all_there(any_redis: AnyRedis) -> None:
    """After a restart bindings, stock and stream are unchanged, and only the fence has fallen."""
    await open_pool(any_redis, "a-1", "a-2")
    await claim(any_redis, "ann")
    before = await any_redis.everything()
    await any_redis.restart()
    assert await any_redis.everything() == before
    assert (await any_redis.store.look([SID]))[0].fence == "fallen"
    assert await any_redis.bare.exists(key_names.fresh(SID))


async def test_a_redis_says_how_many_replicas_it_must_reach(any_redis: AnyRedis) -> None:
    """The number is the one that is configured now."""
    try:
        await any_redis.bare.config_set("min-replicas-max-lag", 7)
        await any_redis.bare.config_set("min-replicas-to-write", 2)
        assert await any_redis.store.replicas_to_write() == (2, 7)
    finally:
        await any_redis.bare.config_set("min-replicas-to-write", 0)
        await any_redis.bare.config_set("min-replicas-max-lag", 10)
    assert await any_redis.store.replicas_to_write() == (0, 10)
