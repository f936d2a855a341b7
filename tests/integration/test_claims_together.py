"""Test claims from several pools by one script call, on every real Redis that is available."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from pool.errors import Fenced, StoreUnavailable
from pool.store import Store, key_names
from pool.store.records import BATCH_LIMIT, Batch, Outcome
from pool.store.wire import Wire
from tests.any_redis import AnyRedis
from tests.servers import redis_servers
from tests.unit.store_contract import customer, open_pool

Result = Batch | Exception | None
NEW, REUSED = Outcome.NEW, Outcome.REUSED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of this module on each server."""
    servers = redis_servers()
    metafunc.parametrize(
        "redis_server", list(servers.values()) or [None], ids=list(servers) or None, indirect=True
    )


class Calls:
    """Claims made within one block, and the script calls that Redis got for them."""

    def __init__(self, redis: AnyRedis, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.redis = redis
        self.store = store
        self.sent: list[tuple[Any, ...]] = []
        self.spoil: Exception | None = None  # stands for the next reply
        wire = store._wire
        assert isinstance(wire, Wire)
        self.wire = wire
        call_at_once = wire.call_at_once

        def noted(command: tuple[Any, ...], on_reply: Any) -> Any:
            self.sent.append(command[:2])
            spoilt, self.spoil = self.spoil, None
            return call_at_once(command, on_reply if spoilt is None else lambda _: on_reply(spoilt))

        monkeypatch.setattr(wire, "call_at_once", noted)

    async def claim(self, *claims: tuple[str, str], abandon: int | None = None) -> list[Result]:
        """Claim for one customer of each meeting. Return the results, in the order asked."""
        loop = asyncio.get_running_loop()
        told: list[asyncio.Future[Result]] = [loop.create_future() for _ in claims]
        abandons = []
        with self.store.claims_together():
            for (sid, who), each in zip(claims, told, strict=True):
                asked = [customer(self.store, who, sid)]
                abandons.append(self.store.claim_at_once(sid, asked, each.set_result))
        if abandon is not None:
            give_up = abandons[abandon]
            assert give_up is not None
            give_up()
            del told[abandon]
        async with asyncio.timeout(20):
            return list(await asyncio.gather(*told))


@pytest.fixture
async def calls(real_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return claims of three pools, of two links each, whose scripts Redis does not know."""
    for sid in ("ma", "mb", "mc"):
        await open_pool(real_redis, f"{sid}-1", f"{sid}-2", sid=sid)
    await real_redis.store.claim("ma", [customer(real_redis.store, "opens a connection", "ma")])
    await real_redis.bare.script_flush()
    return Calls(real_redis, real_redis.store, monkeypatch)


def slug(result: Result) -> tuple[Outcome, str]:
    """Return what the one customer of a call got."""
    assert isinstance(result, Batch), result
    [answer] = result.answers
    return answer.outcome, answer.claim.slug if answer.claim else ""


async def test_claims_of_several_pools_are_one_script_call(calls: Calls) -> None:
    """Each pool answers as if it were alone, and a Redis that forgot the script gets its text."""
    first = await calls.claim(("ma", "ann"), ("mb", "ann"), ("mb", "bob"), ("mc", "cyd"))
    assert [slug(each) for each in first] == [
        (NEW, "ma-2"),
        (NEW, "mb-1"),
        (NEW, "mb-2"),
        (NEW, "mc-1"),
    ]
    assert [command for command, _ in calls.sent] == ["EVALSHA", "EVAL"]
    assert [each.level for each in first if isinstance(each, Batch)] == [0, 1, 0, 1]
    calls.sent.clear()
    again = await calls.claim(("mc", "cyd"), ("ma", "dan"), ("mb", "ann"))
    assert [slug(each) for each in again] == [
        (REUSED, "mc-1"),
        (Outcome.EMPTY, ""),
        (REUSED, "mb-1"),
    ]
    assert len(calls.sent) == 1
    recorded = [await calls.store.stream.unrecorded(sid, 10) for sid in ("ma", "mb", "mc")]
    assert [[claim.slug for claim in each] for each in recorded] == [
        ["ma-1", "ma-2"],
        ["mb-1", "mb-2"],
        ["mc-1"],
    ]
    for sid, who in (("ma", "ann"), ("mb", "bob"), ("mc", "cyd")):
        assert await calls.store.claim_of(sid, who) is not None


async def test_trouble_of_one_pool_is_its_own(calls: Calls) -> None:
    """A fallen fence, a key of another type and a lost meeting leave the others alone."""
    bare = calls.redis.bare
    await open_pool(calls.redis, "md-1", sid="md")
    await bare.delete(key_names.epoch("ma"))
    await bare.delete(key_names.fresh("mb"))
    await bare.set(key_names.fresh("mb"), "of another type")
    await bare.delete(key_names.meeting("mc"))
    fallen, broken, lost, good = await calls.claim(
        ("ma", "ann"), ("mb", "ann"), ("mc", "ann"), ("md", "ann")
    )
    assert isinstance(fallen, Fenced)
    assert isinstance(broken, StoreUnavailable)
    assert "WRONGTYPE" in str(broken)
    assert not broken.connection_lost
    assert lost is None
    assert slug(good) == (NEW, "md-1")
    assert await calls.store.stream.unrecorded("mb", 10) == []


async def test_a_full_redis_refuses_each(calls: Calls) -> None:
    """Those who hold a link get it all the same, and nothing is half written."""
    await calls.claim(("ma", "ann"), ("mb", "bob"))
    before = await calls.redis.everything()
    await calls.redis.bare.config_set("maxmemory", 1)
    held, refused = await calls.claim(("ma", "ann"), ("mb", "cyd"))
    await calls.redis.bare.config_set("maxmemory", 0)
    assert slug(held) == (REUSED, "ma-2")
    assert isinstance(refused, StoreUnavailable)
    assert await calls.redis.everything() == before


async def test_a_master_that_became_a_replica_is_left(calls: Calls) -> None:
    """Its connection is closed, and each claim asks again, as a single one does."""
    await calls.claim(("ma", "ann"), ("mb", "bob"))  # Redis knows the script
    await calls.redis.bare.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert await calls.claim(("ma", "ann"), ("mb", "dan"), ("mc", "dan")) == [None] * 3
        assert calls.wire._idle == []
    finally:
        await calls.redis.bare.execute_command("REPLICAOF", "NO", "ONE")


async def test_public_claims_leave_each_meetings_reserve(
    real_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One meeting's reserve is not another's, though one script call serves both."""
    for sid, reserve in (("ma", 1), ("mb", 2), ("mc", 0)):
        await open_pool(real_redis, f"{sid}-1", f"{sid}-2", sid=sid, reserve=reserve)
    store = real_redis.store.above_reserve()
    await store.claim("ma", [customer(store, "ann", "ma")])
    calls = Calls(real_redis, store, monkeypatch)
    found = await calls.claim(("ma", "bob"), ("mb", "bob"), ("mc", "bob"), ("ma", "ann"))
    assert [slug(each) for each in found] == [
        (Outcome.EMPTY, ""),
        (Outcome.EMPTY, ""),
        (NEW, "mc-1"),
        (REUSED, "ma-1"),
    ]


async def test_an_abandoned_claim_sends_the_others_to_ask_again(calls: Calls) -> None:
    """To them it is a lost connection; `claim` then returns the link that the call has bound."""
    assert await calls.claim(("ma", "ann"), ("mb", "bob"), ("mc", "cyd"), abandon=1) == [None, None]
    batch = await calls.store.claim("mc", [customer(calls.store, "cyd", "mc")])
    assert slug(batch) in ((NEW, "mc-1"), (REUSED, "mc-1"))


async def test_without_a_connection_all_ask_again(calls: Calls) -> None:
    """Nothing is sent where none stands ready."""
    calls.wire.close()
    assert await calls.claim(("ma", "ann"), ("mb", "bob")) == [None, None]
    assert await calls.store.claim_of("ma", "ann") is None


async def test_a_server_whose_keys_have_slots_is_asked_for_one_pool_at_a_time(
    calls: Calls,
) -> None:
    """Some providers of Redis serve a cluster at one address, and refuse keys of several slots."""
    error = calls.wire._idle[0]._connection._parser.parse_error("CROSSSLOT Keys don't hash alike")
    calls.spoil = error
    assert await calls.claim(("ma", "ann"), ("mb", "bob")) == [None, None]
    await calls.store.claim("ma", [customer(calls.store, "ann", "ma")])  # knows the script again
    calls.sent.clear()
    found = await calls.claim(("ma", "ann"), ("mb", "bob"))
    assert [slug(each)[1] for each in found] == ["ma-2", "mb-1"]
    assert len(calls.sent) == 2


@pytest.mark.parametrize("error", [ResponseError("ERR of the server"), OSError("gone")])
async def test_an_error_of_the_whole_call_is_everybodys(calls: Calls, error: Exception) -> None:
    """None of them waits on."""
    await calls.claim(("ma", "ann"), ("mb", "bob"))  # Redis knows the script
    calls.spoil = error
    results = await calls.claim(("ma", "ann"), ("mb", "bob"))
    assert results == [None, None] or all(isinstance(each, StoreUnavailable) for each in results)


async def test_a_script_call_is_for_no_more_customers_than_any(calls: Calls) -> None:
    """However many pools wait, each call keeps other clients of Redis waiting for a moment only."""
    await calls.store.claim("mb", [customer(calls.store, "x", "mb")])
    sids = ["ma", "mb", "mc"] * 30
    opened = [await asyncio.create_task(calls.wire._open()) for _ in range(2)]
    calls.wire._idle += opened
    results = await calls.claim(*((sid, f"customer {n}") for n, sid in enumerate(sids)))
    assert all(isinstance(each, Batch) for each in results)
    assert len(sids) > BATCH_LIMIT
    assert len({command for command, _ in calls.sent}) == 2  # EVALSHA, and EVAL after it
    assert len(calls.sent) == 4
