"""Test losing a master of a Redis Cluster, and moving meetings between masters, while claims
run.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.redis_cluster import CLI, SERVER
from pool.claims.cluster_desk import open_desk
from pool.claims.desk import CALLS_AT_ONCE
from pool.claims.known_meetings import KnownMeetings
from pool.claims.on_demand import NoLinksOnDemand
from pool.cli.doctor_redis import cluster as cluster_findings
from pool.cli.doctor_redis import of_server
from pool.durability.fence_watch import FenceWatch
from pool.durability.recent_claims import RecentClaims
from pool.durability.reopening import Recovered
from pool.errors import Fenced, PoolEmpty, SettingsError, StoreUnavailable
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.store import Store, key_names
from pool.store.broker_rights import check_broker
from pool.store.capabilities import acl, check_redis
from pool.store.ending import end_tasks
from pool.store.records import AnsweredClaim, Outcome, Span, payload
from tests.any_redis import SECRET_KEY
from tests.cluster_stage import any_cluster
from tests.disturbed_cluster import DisturbedCluster
from tests.in_process import InProcess, in_process, until
from tests.redis_process import RedisServer
from worker.recover import recover

STOCK = 150


@pytest.fixture(scope="module")
def with_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedCluster]:
    """Run a Redis Cluster of three masters with a replica each."""
    if SERVER is None or CLI is None:
        pytest.skip("no Redis Cluster can be had: apt-get install redis-server")
    running = DisturbedCluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture
async def on_replicas(with_replicas: DisturbedCluster, any_url: str) -> AsyncIterator[InProcess]:
    """Return the product on the Cluster whose masters have replicas."""
    async with any_cluster(with_replicas) as redis, in_process(redis, any_url) as product:
        yield product


@pytest.fixture
async def on_masters(masters_alone: DisturbedCluster, any_url: str) -> AsyncIterator[InProcess]:
    """Return the product on the Cluster whose masters are alone."""
    async with any_cluster(masters_alone) as redis, in_process(redis, any_url) as product:
        yield product


class Visitors:
    """New customers of one meeting, who claim one after the other and note their answers."""

    def __init__(self, product: InProcess, sid: str) -> None:
        self.sid = sid
        self.product = product
        self.answered: dict[str, AnsweredClaim] = {}
        self.refused: Counter[str] = Counter()
        self._numbers = itertools.count()

    @asynccontextmanager
    async def coming(self) -> AsyncIterator[Visitors]:
        """Let visitors come while the block runs."""
        async with asyncio.TaskGroup() as group:
            coming = group.create_task(self._come())
            try:
                yield self
            finally:
                await end_tasks([coming])

    async def _come(self) -> None:
        while True:
            who = f"{self.sid}-{next(self._numbers)}"
            try:
                if not await self._claim(who):
                    await self.stock()
            except (Fenced, StoreUnavailable) as error:
                self.refused[type(error).__name__] += 1
            await asyncio.sleep(0.003)

    async def _claim(self, who: str) -> str:
        store = self.product.store
        batch = await store.claim(self.sid, [(store.names.name(self.sid, who), payload(who))])
        claim = batch.answers[0].claim
        if claim is None:
            return ""
        self.answered[who] = AnsweredClaim(who, claim, 60_000, payload(who))
        return claim.slug

    async def served(self, more: int = 20) -> None:
        """Wait until this many more were answered."""
        goal = len(self.answered) + more
        await until(lambda: len(self.answered) >= goal)

    async def heal(self) -> Recovered:
        """Do the work of API processes and workers after a fence has fallen, and stock the pool."""
        await self.product.store.assert_again(self.sid, list(self.answered.values()))
        result = await self.product.parts.recovery.recover(self.sid, grace_seconds=0.0)
        await self.stock()
        return result

    async def stock(self) -> None:
        """Put new links into the pool."""
        level = await self.product.level(self.sid)
        slugs = [f"{self.sid}-s{next(_slugs)}" for _ in range(STOCK)]
        now = datetime.now(UTC)
        await self.product.ledger.links.insert_fresh(
            [
                Link(
                    slug, f"https://sandbox/{slug}", self.sid, State.FRESH, "pool", level.epoch, now
                )
                for slug in slugs
            ]
        )
        await self.product.store.add(self.sid, level.epoch, slugs, level.now_ms)

    async def check(self) -> None:
        """Fail if a link went to two customers, or a customer holds another link than the answered
        one.
        """
        await self.product.parts.recorder.record(self.sid)
        given = {who: each.claim.slug for who, each in self.answered.items()}
        assert len(set(given.values())) == len(given), "a link went to two customers"
        for who, slug in given.items():
            link = await self.product.ledger.links.get(slug)
            assert link is not None
            assert (link.state, link.customer_id) == (State.CLAIMED, who)
            batch = await self.product.store.claim(
                self.sid, [(self.product.store.names.name(self.sid, who), payload(who))]
            )
            assert batch.answers[0].outcome is Outcome.REUSED
            assert batch.answers[0].claim is not None
            assert batch.answers[0].claim.slug == slug


_slugs = itertools.count()


def _come_meanwhile(loop: asyncio.AbstractEventLoop, visitors: Visitors) -> None:
    """Let the next visitor be refused while the slot's keys are on two masters."""
    goal = visitors.refused.total() + 1

    async def refused() -> None:
        await until(lambda: visitors.refused.total() >= goal)
        # A single key is found wherever it is by now.
        who, held = next(iter(visitors.answered.items()))
        assert await visitors.product.store.claim_of(visitors.sid, who) == held.claim

    asyncio.run_coroutine_threadsafe(refused(), loop).result(30)


async def _open(product: InProcess, *sids: str) -> list[Visitors]:
    visitors = []
    for sid in sids:
        await product.meeting(sid)
        visitors.append(Visitors(product, sid))
        await visitors[-1].stock()
    return visitors


async def test_a_lost_master_costs_its_own_meetings_a_recovery(
    on_replicas: InProcess, with_replicas: DisturbedCluster
) -> None:
    """The other meetings are served throughout, and their pools are left alone."""
    product, sids = on_replicas, with_replicas.sids_apart()
    lost, *others = await _open(product, *sids)
    async with lost.coming(), others[0].coming(), others[1].coming():
        for each in (lost, *others):
            await each.served()
        dead = with_replicas.master_of(key_names.epoch(lost.sid))
        await asyncio.to_thread(dead.kill)
        levels = {level.sid: level.fence for level in await product.store.look(sids)}
        assert levels == {lost.sid: "unreadable"} | {each.sid: "stands" for each in others}
        assert [each.fence for each in await product.store.recovery.fences(sids)] == [
            levels[sid] for sid in sids
        ]
        assert len(await product.store.infos()) == 2, "ready nevertheless"
        assert len(await product.store.masters_away()) == 1
        series = await product.store.history.read_all(sids, Span.HOUR)
        assert [each.sid for each in series] == sids, "pages show what can be read"
        assert set(await product.store.history.sparks(sids)) == set(sids)
        for each in others:
            await each.served()
        await until(lambda: lost.refused["Fenced"] > 0)
        for each in others:
            await each.served()
            assert not each.refused
        look = await product.store.look(sids)
        assert await product.parts.recovery.fallen(look) == [lost.sid]
        assert await lost.heal() is Recovered.QUARANTINED
        await lost.served()
    await asyncio.to_thread(with_replicas.heal)
    for each in (lost, *others):
        await each.check()
    assert product.metric("linkpool_conflicts_total") == 0


async def test_a_slot_moves_while_claims_run(
    on_masters: InProcess, masters_alone: DisturbedCluster
) -> None:
    """Claims are refused for a moment. Bindings move along, and fresh links are set aside."""
    product, cluster = on_masters, masters_alone
    moving, calm = await _open(product, *cluster.sids_apart()[:2])
    async with moving.coming(), calm.coming():
        await moving.served()
        for number in range(3):
            key = key_names.epoch(moving.sid)
            here = cluster.master_of(key)
            there = next(node for node in cluster.masters() if node is not here)
            loop = asyncio.get_running_loop()
            come = partial(_come_meanwhile, loop, moving)
            await asyncio.to_thread(cluster.move_slot, key, there, between=come)
            fenced = moving.refused["Fenced"]
            await until(lambda fenced=fenced: moving.refused["Fenced"] > fenced)  # type: ignore[misc]
            assert moving.refused["StoreUnavailable"] > 0, "while the slot was under way"
            assert await moving.heal() is Recovered.QUARANTINED, number
            await moving.served()
        assert not calm.refused
    for each in (moving, calm):
        await each.check()
    assert product.metric("linkpool_conflicts_total") == 0


async def test_a_seal_lets_a_slot_move_without_losing_a_link(
    on_masters: InProcess, masters_alone: DisturbedCluster
) -> None:
    """The ledger then has every claim, and the links of the pool are compared with it."""
    product, cluster = on_masters, masters_alone
    [moving] = await _open(product, cluster.sids_apart()[0])
    await product.claim(moving.sid, "ann")
    assert await product.parts.recovery.seal([moving.sid]) == [moving.sid]
    stock = await product.pooled(moving.sid)
    await asyncio.to_thread(cluster.move_all)
    assert await moving.heal() is Recovered.ADOPTED
    assert (await product.pooled(moving.sid))[: len(stock)] == stock


async def test_keys_that_a_slot_left_behind_long_ago_are_not_adopted(
    on_masters: InProcess, masters_alone: DisturbedCluster
) -> None:
    """The file of a crashed master may not know that keys had moved away.

    They are back when the slot is, and links that were claimed since look fresh.
    """
    product, cluster = on_masters, masters_alone
    [moving] = await _open(product, cluster.sids_apart()[0])
    [ann] = await product.claim(moving.sid, "ann")
    await product.parts.recovery.seal([moving.sid])
    await asyncio.to_thread(cluster.move_all)
    await product.redis.bare.zadd(key_names.fresh(moving.sid), {ann: 1})
    await product.redis.bare.delete(
        key_names.binding(moving.sid, product.store.names.name(moving.sid, "ann"))
    )
    assert await moving.heal() is Recovered.QUARANTINED
    assert ann not in await product.pooled(moving.sid)
    assert await product.claim(moving.sid, "ann") == [ann]


async def test_a_silent_master_keeps_no_call_from_the_others(
    on_masters: InProcess, masters_alone: DisturbedCluster
) -> None:
    """It accepts connections and says nothing, like a firewall that dropped its connections.

    Calls to it last until their deadline; those to other masters have calls of their own.
    """
    product, cluster = on_masters, masters_alone
    silent = cluster.master_of(key_names.epoch("m0"))
    served = cluster.sids_apart()[1]
    sids = [f"m{n}" for n in range(180)]
    dead = [sid for sid in sids if cluster.master_of(key_names.epoch(sid)) is silent]
    assert len(dead) > CALLS_AT_ONCE
    await _open(product, served)
    for sid in dead:
        await product.meeting(sid, is_open=False)
    known = KnownMeetings(product.store, product.ledger)
    await known.refresh()
    desk = open_desk(
        product.store, known, RecentClaims(), NoLinksOnDemand(), _Listener(), timeout_seconds=4.0
    )
    assert (await desk.claim(served, "before")).outcome == "new"
    assert silent.process is not None
    silent.process.send_signal(signal.SIGSTOP)
    try:
        waiting = [asyncio.create_task(desk.claim(sid, f"c{n}")) for sid in dead for n in range(3)]
        await asyncio.sleep(0)
        for number in range(20):
            assert (await desk.claim(served, f"c{number}")).outcome == "new"
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, StoreUnavailable)
    finally:
        silent.process.send_signal(signal.SIGCONT)
    await asyncio.to_thread(cluster.heal)
    await desk.close()


class _Listener:
    """A listener that ignores every event."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


# -- a meeting of several shards -------------------------------------------------------------------


class Process:
    """The parts of an API process that serve claims."""

    def __init__(self, product: InProcess) -> None:
        store, self.known = product.store, KnownMeetings(product.store, product.ledger)
        self.recent = RecentClaims()
        self.desk = open_desk(
            store, self.known, self.recent, NoLinksOnDemand(), _Listener(), timeout_seconds=1.0
        )
        self.watch = FenceWatch(store, self.recent, meeting_of=self.known.get)

    async def slug(self, sid: str, who: str) -> str:
        return (await self.desk.claim(sid, who)).claim.slug


async def test_a_meeting_of_six_shards_outlives_a_master_and_a_change(
    on_replicas: InProcess, with_replicas: DisturbedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All masters serve it, and a lost one stops only its own shards.

    Whatever the number of shards, a customer has one link, at every process and in every tab.
    """
    monkeypatch.setattr("worker.recover.GRACE_SECONDS", 0.0)
    product, cluster = on_replicas, with_replicas

    def masters_of(meeting: Meeting) -> dict[str, Any]:
        return {pool: cluster.master_of(key_names.epoch(pool)) for pool in meeting.pools}

    hot = (Meeting(f"hot{n}", min_fresh=90, max_fresh=120, shards=6) for n in itertools.count())
    sid = next(each.sid for each in hot if len(set(masters_of(each).values())) == 3)
    meeting = await product.meeting(sid, min_fresh=90, max_fresh=120, shards=6)
    await product.top_up()
    processes = [Process(product), Process(product)]
    for process in processes:
        await process.known.refresh()
    held: dict[str, str] = {}

    async def tabs(*customers: str) -> dict[str, str]:
        """Let each customer claim in two tabs, at two processes."""
        found = await asyncio.gather(
            *(each.slug(sid, who) for who in customers for each in processes)
        )
        assert found[::2] == found[1::2], "two tabs, one link"
        return dict(zip(customers, found[::2], strict=True))

    held |= await tabs(*(f"c{n}" for n in range(40)))
    assert len(set(held.values())) == 40

    where = masters_of(meeting)
    dead, _ = Counter(where.values()).most_common(1)[0]
    lost = {pool for pool, node in where.items() if node is dead}
    await asyncio.to_thread(dead.kill)
    looked = await product.store.look_at([meeting])
    assert {each.sid for each in looked.pools if each.fence == "unreadable"} == lost
    assert looked.meetings[0].fence == "unreadable"
    asked = await asyncio.gather(
        *(processes[0].slug(sid, who) for who in held), return_exceptions=True
    )
    for (who, slug), found in zip(held.items(), asked, strict=True):
        if product.store.pool_of(meeting, who) in lost:
            assert isinstance(found, StoreUnavailable | Fenced)
        else:
            assert found == slug

    async def all_fallen() -> bool:
        levels = (await product.store.look_at([meeting])).pools
        return {each.sid for each in levels if each.fence == "fallen"} == lost

    async with asyncio.timeout(30):
        while not await all_fallen():  # noqa: ASYNC110 - a condition is no event
            await asyncio.sleep(0.05)
    for process in processes:
        await process.watch.look()
        await asyncio.gather(*process.watch._tasks)
    epochs = {each.sid: each.epoch for each in (await product.store.look_at([meeting])).pools}
    assert await recover(product.parts) == {"default"}
    await product.top_up()
    for each in (await product.store.look_at([meeting])).pools:
        assert each.fence == "stands"
        assert (each.epoch == epochs[each.sid]) is (each.sid not in lost)
    assert await tabs(*held) == held
    await asyncio.to_thread(cluster.heal)

    # The number changes while new customers come to both processes.
    refused = 0

    async def come(process: Process) -> None:
        nonlocal refused
        for number in itertools.count():
            who = f"n{number}"
            try:
                slug = await process.slug(sid, who)
            except (PoolEmpty, Fenced):
                refused += 1
                await process.known.refresh()
                await asyncio.sleep(0.01)
            else:
                assert held.setdefault(who, slug) == slug, "one link at both processes"
            await asyncio.sleep(0.005)

    coming = [asyncio.create_task(come(process)) for process in processes]
    for shards in (2, 1, 3):
        meeting = replace(meeting, shards=shards)
        await product.ledger.meetings.put(meeting)
        await product.store.published.put([meeting])
        await asyncio.sleep(0.05)
        await recover(product.parts)
        await product.top_up()
        answered = len(held)
        await until(lambda answered=answered: len(held) >= answered + 10)  # type: ignore[misc]
    for task in coming:
        assert not task.done(), task
    await end_tasks(coming)
    assert refused > 0
    assert len(set(held.values())) == len(held), "a link went to two customers"
    assert await tabs(*held) == held
    await product.parts.recorder.record(sid)
    for who, slug in held.items():
        link = await product.ledger.links.get(slug)
        assert link is not None
        assert (link.state, link.customer_id) == (State.CLAIMED, who)
    assert product.metric("linkpool_conflicts_total") == 0
    for process in processes:
        await process.desk.close()


# -- what is refused at the start, and what doctor says ------------------------------------------


async def test_every_master_must_be_fit_for_claims(masters_alone: DisturbedCluster) -> None:
    """A master that evicts keys or refuses a command would lose its meetings' claims."""
    await check_redis(masters_alone.url)
    one = masters_alone.masters()[1].client
    one.config_set("maxmemory-policy", "allkeys-lru")
    one.config_set("maxmemory", "1gb")
    try:
        with pytest.raises(SettingsError, match="evicts keys"):
            await check_redis(masters_alone.url)
    finally:
        one.config_set("maxmemory", "0")
        one.config_set("maxmemory-policy", "noeviction")


async def test_an_address_says_whether_it_is_a_cluster(
    masters_alone: DisturbedCluster, redis_server: RedisServer
) -> None:
    """Pools or broker on the wrong kind of Redis would look well and do nothing."""
    for node in masters_alone.masters():
        plain = f"redis://127.0.0.1:{node.port}"
        with pytest.raises(SettingsError, match=r"is a Redis Cluster; .*redis\+cluster://"):
            await check_redis(plain)
        with pytest.raises(SettingsError, match="a Redis Cluster, which cannot be Celery's broker"):
            await check_broker(plain)
    alone = redis_server.url().replace("redis://", "redis+cluster://").removesuffix("/0")
    with pytest.raises(SettingsError, match="is no Redis Cluster"):
        await check_redis(alone)


async def test_a_user_of_few_rights_is_enough_for_a_cluster(
    masters_alone: DisturbedCluster,
) -> None:
    """The rules that doctor prints suffice."""
    for node in masters_alone.nodes:
        for rule in acl():
            node.client.execute_command(*rule.split())
        node.client.execute_command("ACL", "LOG", "RESET")
    url = masters_alone.url.replace("://", "://linkpool-api:PASSWORD@")
    await check_redis(url)
    store = Store.open(url, SECRET_KEY)
    try:
        await store.published.put([Meeting("intro")])
        assert (await store.look(["intro"]))[0].fence == "fallen"
        assert len(await store.infos()) == 3
    finally:
        await store.close()
    for node in masters_alone.nodes:
        assert node.client.acl_log() == []
        node.client.execute_command("ACL", "SETUSER", "linkpool-api", "-cluster|slots")
    with pytest.raises(SettingsError, match=r"\+cluster\|slots"):
        await check_redis(url)


async def test_doctor_looks_at_all_masters(masters_alone: DisturbedCluster) -> None:
    """It also warns of a master that would stop all others, or that goes on when it is cut off."""
    store = Store.open(masters_alone.url, SECRET_KEY)
    parts = cast("Any", SimpleNamespace(store=store))

    async def found() -> list[tuple[str, str]]:
        return [(each.verdict, each.text) async for each in cluster_findings(parts)]

    one = masters_alone.masters()[2].client
    try:
        for info in await store.infos():
            assert {each.verdict for each in of_server(info, " there")} == {"ok"}
        assert await store.masters_away() == []
        [(verdict, text)] = await found()
        assert (verdict, "after 1 s" in text) == ("ok", True)
        one.config_set("cluster-require-full-coverage", "yes")
        [(verdict, text)] = await found()
        assert (verdict, "all refuse claims" in text) == ("warning", True)
        one.config_set("cluster-node-timeout", 60_000)
        [(verdict, text)] = await found()
        assert (verdict, "60 s" in text) == ("warning", True)
    finally:
        one.config_set("cluster-node-timeout", 1_000)
        one.config_set("cluster-require-full-coverage", "no")
        await store.close()
