"""Hold a fake Redis to the store's contract, and test what needs a clock that stands still."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from pool.errors import StoreUnavailable
from pool.store import key_names
from pool.store.bindings import CustomerNames
from pool.store.budget import Budget
from pool.store.records import Block
from pool.store.replies import decayed_rate
from tests.any_redis import AnyRedis
from tests.fake_redis import FakeClock, FakeRedisServer
from tests.unit.store_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_replay_contract import *  # noqa: F403 - the contract's tests
from tests.unit.store_upkeep_contract import *  # noqa: F403 - the contract's tests


@pytest.fixture
def any_redis(fake_redis: AnyRedis) -> AnyRedis:
    """Return the Redis that the contract is about."""
    return fake_redis


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Return Redis's clock."""
    with FakeClock().stopped() as clock:
        yield clock


class LimitedProvider:
    """A provider that takes this many requests a second, and answers 429 to the rest."""

    def __init__(self, clock: FakeClock, per_second: float) -> None:
        self.clock = clock
        self.per_second = per_second
        self._tokens = per_second
        self._at = clock.now

    def takes(self) -> bool:
        """Return True if a request now is answered with a link."""
        self._tokens += (self.clock.now - self._at) * self.per_second
        self._tokens, self._at = min(self._tokens, self.per_second), self.clock.now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def drive(
    budget: Budget, provider: LimitedProvider, seconds: float, first_rate: float
) -> tuple[int, int]:
    """Ask as often as the budget allows. Return how many were answered, and how many refused."""
    answered = refused = 0
    end = provider.clock.now + seconds
    while provider.clock.now < end:
        wait = await budget.take("w", first_rate=first_rate, within_seconds=3_600)
        assert wait is not None
        provider.clock.advance(wait)
        if provider.takes():
            answered += 1
            await budget.report("w", "ok", first_rate=first_rate)
        else:
            refused += 1
            await budget.report("w", "throttled", first_rate=first_rate)
    return answered, refused


@pytest.mark.parametrize("first_rate", [2.0, 20.0, 200.0])
async def test_the_budget_finds_the_rate_a_provider_allows(
    fake_redis: AnyRedis, clock: FakeClock, first_rate: float
) -> None:
    """It uses most of 20 requests a second with few refusals, wherever it starts."""
    provider = LimitedProvider(clock, 20)
    await drive(fake_redis.store.budget, provider, 30, first_rate)
    answered, refused = await drive(fake_redis.store.budget, provider, 60, first_rate)
    assert answered >= 0.8 * 20 * 60
    assert refused <= 0.1 * answered


async def test_the_budget_follows_a_limit_that_changes(
    fake_redis: AnyRedis, clock: FakeClock
) -> None:
    """Down when the provider allows less, and up again when it allows more."""
    provider = LimitedProvider(clock, 20)
    budget = fake_redis.store.budget
    await drive(budget, provider, 20, 10)
    provider.per_second = 5
    await drive(budget, provider, 20, 10)
    answered, refused = await drive(budget, provider, 40, 10)
    assert answered >= 0.7 * 5 * 40
    assert refused <= 0.25 * answered
    provider.per_second = 40
    await drive(budget, provider, 40, 10)
    answered, _ = await drive(budget, provider, 20, 10)
    assert answered >= 0.7 * 40 * 20


async def test_an_idle_workspace_does_not_save_up_requests(
    fake_redis: AnyRedis, clock: FakeClock
) -> None:
    """After a quiet hour two may catch up at once, and no more."""
    budget = fake_redis.store.budget
    await budget.take("w", first_rate=10, within_seconds=1)
    clock.advance(3_600)
    waits = [await budget.take("w", first_rate=10, within_seconds=1) for _ in range(5)]
    assert waits == [0, 0, 0, 0.1, 0.2]


async def test_demand_fades_when_nobody_claims(fake_redis: AnyRedis, clock: FakeClock) -> None:
    """The claim rate is halved about every 20 seconds of silence."""
    await open_pool(fake_redis)  # noqa: F405
    await claim(fake_redis, *(f"c{n}" for n in range(60)))  # noqa: F405
    store = fake_redis.store
    assert (await store.look(["intro"]))[0].claims_per_second == pytest.approx(2, rel=0.01)
    clock.advance(30)
    assert (await store.look(["intro"]))[0].claims_per_second == pytest.approx(2 / 2.718, rel=0.01)
    clock.advance(3_600)
    assert (await store.look(["intro"]))[0].claims_per_second == 0
    assert decayed_rate(30, 0) == 1


async def test_an_unreachable_server_is_a_broken_connection(
    fake_redis: AnyRedis, fake_server: FakeRedisServer
) -> None:
    """The caller may try another connection."""
    fake_server.reachable = False
    with pytest.raises(StoreUnavailable) as broken:
        await fake_redis.store.last_heartbeat_ms()
    assert broken.value.connection_lost is True


def test_the_keys_of_a_meeting_or_workspace_share_a_slot() -> None:
    """On a Redis Cluster one script may then use all of them."""
    of_meeting = (
        key_names.epoch,
        key_names.fresh,
        key_names.claims,
        key_names.meeting,
        key_names.demand,
        key_names.nudged,
        key_names.block,
        key_names.recovery_lock,
        key_names.asserted,
        key_names.visitors,
    )
    in_time = key_names.history, key_names.tally_past
    of_workspace = (key_names.budget, key_names.workspace_block, key_names.top_up_lock)
    for each in in_time:
        assert re.findall(r"\{(.*?)\}", each("s1", 10, 1)) == ["s1"]
    for kind in of_meeting:
        assert re.findall(r"\{(.*?)\}", kind("s1")) == ["s1"]
    of_one = key_names.binding, key_names.visitors_from
    for each in of_one:
        assert re.findall(r"\{(.*?)\}", each("s1", "name")) == ["s1"]
    for kind in of_workspace:
        assert re.findall(r"\{(.*?)\}", kind("s1")) == ["w:s1"], "no meeting's tag"
    of_all = {key_names.task_lock, key_names.history_taken}
    fields = {key_names.tally}  # of a hash, no keys
    named = {*of_meeting, *of_workspace, *of_one, *in_time, *of_all, *fields}
    assert {kind for _, kind in inspect.getmembers(key_names, inspect.isfunction)} == named


def test_customers_have_names_that_only_the_key_tells() -> None:
    """A name is the same under one key, and different for every meeting, customer and key."""
    names = CustomerNames(b"key")
    assert names.name("s", "ann") == CustomerNames(b"key").name("s", "ann")
    others = {names.name("s", "bob"), names.name("t", "ann"), CustomerNames(b"k").name("s", "ann")}
    assert len(others | {names.name("s", "ann")}) == 4
    assert names.name("s", "a\ufeffnn") != names.name("s", "ann")
    assert names.fingerprint == CustomerNames(b"key").fingerprint
    assert names.fingerprint != CustomerNames(b"key2").fingerprint


async def test_a_clock_set_back_does_not_silence_a_workspace(
    fake_redis: AnyRedis, clock: FakeClock
) -> None:
    """A pause lasts as long as was left of it, and no longer."""
    budget = fake_redis.store.budget
    for _ in range(5):
        await budget.take("w", first_rate=1, within_seconds=60)
    before = await budget.take("w", first_rate=1, within_seconds=60)
    clock.advance(-3_600)
    assert before is not None
    assert await budget.take("w", first_rate=1, within_seconds=60) == pytest.approx(before + 1)


async def test_all_processes_agree_on_the_time(fake_redis: AnyRedis, clock: FakeClock) -> None:
    """It is Redis's, in milliseconds."""
    assert await fake_redis.store.now_ms() == pytest.approx(clock.now * 1000, abs=1)


@pytest.mark.parametrize(
    ("after_seconds", "due"),
    [(0, False), (59, False), (60, True), (3_600, True), (-1, True), (-3_600, True)],
)
def test_a_probe_is_due_once_its_time_has_come(after_seconds: int, due: bool) -> None:
    """A probe is due, too, when the clock was set back, which would put it off for as long."""
    set_at_ms = 10_000_000
    block = Block("gone", set_at_ms, set_at_ms).put_off(set_at_ms, 60.0)
    assert block.is_probe_due(set_at_ms + after_seconds * 1000, 60.0) is due


async def test_a_store_under_test_is_asked_nothing_that_a_cluster_refuses(
    fake_server: FakeRedisServer,
) -> None:
    """Commands, scripts and transactions over several slots; a pipeline may go over many."""
    client = fake_server.client_of_store()
    apart = "lp:{a}:epoch", "lp:{b}:epoch"
    transaction, pipe = client.pipeline(transaction=True), client.pipeline(transaction=False)
    for key in apart:
        transaction.get(key)
        pipe.get(key)
    assert await pipe.execute() == [None, None]
    for asked in (client.mget(apart), client.eval("return 1", 2, *apart), transaction.execute()):
        with pytest.raises(AssertionError, match="several masters"):
            await asked
    await client.aclose()
