"""Test top-up: which links are made, for which meetings, and when it stops."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pool.errors import LedgerUnavailable, StoreUnavailable
from pool.model.links import Link, State
from pool.store import key_names
from pool.store.records import Block
from pool.supply.planning import Need, plan
from tests.in_process import InProcess, in_process, until
from tests.scripted_provider import (
    FAILED,
    LOST,
    MEETING_REFUSED,
    THROTTLED,
    WORKSPACE_REFUSED,
)


async def test_an_empty_pool_is_filled_to_its_target(product: InProcess) -> None:
    """No further; each link is fresh in the ledger under the pool's epoch, and counted."""
    await product.meeting("intro", min_fresh=7)
    assert await product.top_up() is False
    made = [new.slug for new in product.provider.made]
    assert len(made) == 7
    assert sorted(await product.pooled("intro")) == sorted(made)
    rows = await product.ledger.links.find(made)
    assert {row.state for row in rows} == {State.FRESH}
    assert {row.source for row in rows} == {"pool"}
    assert {row.epoch for row in rows} == {(await product.level("intro")).epoch}
    assert {row.url for row in rows} == {new.url for new in product.provider.made}
    assert product.counted("intro", "added") == 7
    assert (await product.level("intro")).totals.top_ups == 7


async def test_a_full_pool_costs_no_request(product: InProcess) -> None:
    """The pool may be looked at any number of times."""
    await product.meeting("intro", min_fresh=2)
    await product.top_up()
    await product.top_up()
    assert len(product.provider.asked) == 2


async def test_only_what_is_missing_is_made(product: InProcess) -> None:
    """Links that were claimed since are made, too."""
    await product.meeting("intro", min_fresh=5, max_fresh=5)
    await product.top_up()
    assert all(await product.claim("intro", "ann", "ben"))
    await product.top_up()
    assert len(product.provider.asked) == 7
    assert len(await product.pooled("intro")) == 5


async def test_no_link_is_made_for_a_paused_meeting(product: InProcess) -> None:
    """Its neighbours get theirs."""
    await product.meeting("intro", min_fresh=3, paused=True)
    await product.meeting("demo", min_fresh=3)
    await product.top_up()
    assert product.provider.requests() == {"demo": 3}


async def test_no_link_is_made_for_a_pool_whose_fence_fell(product: InProcess) -> None:
    """It could not enter; nor for one that was never opened."""
    await product.meeting("intro", min_fresh=3)
    await product.meeting("demo", min_fresh=3, is_open=False)
    await product.redis.restart()
    await product.top_up()
    assert product.provider.asked == []


async def test_a_workspace_tops_up_its_own_meetings_only(fake_redis: Any, sqlite_url: str) -> None:
    """Its links are made with its own key at its own provider."""
    async with in_process(fake_redis, sqlite_url, "default", "other") as product:
        await product.meeting("intro", min_fresh=2)
        await product.meeting("demo", min_fresh=3, workspace="other")
        await product.top_up("other")
        assert product.provider.asked == []
        assert product.providers["other"].requests() == {"demo": 3}


async def test_a_workspace_that_is_not_configured_has_nothing_more_to_do(
    product: InProcess,
) -> None:
    """Its meetings stay as they are; the task ends well."""
    await product.meeting("intro", workspace="gone")
    assert await product.top_up("gone") is False
    assert product.provider.asked == []


async def test_one_top_up_of_a_workspace_at_a_time(product: InProcess) -> None:
    """The second leaves the work to the first."""
    await product.meeting("intro", min_fresh=3)
    async with product.store.locks.held(key_names.top_up_lock("default")) as lock:
        assert lock is not None
        assert await product.top_up() is False
    assert product.provider.asked == []


async def test_nothing_is_made_while_the_ledger_is_away(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that cannot be written down cannot be pooled: it is not asked for."""
    await product.meeting("intro", min_fresh=3)

    async def away() -> None:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(product.ledger, "ping", away)
    with pytest.raises(LedgerUnavailable):
        await product.top_up()
    assert product.provider.asked == []


async def test_it_ends_when_the_ledger_goes(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The links under way are lost and counted as such; no more are burnt than were under way."""
    await product.meeting("intro", min_fresh=100)

    async def away(_links: list[Link]) -> set[str]:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(product.ledger.links, "insert_fresh", away)
    assert await product.top_up() is False
    burnt = len(product.provider.made)
    assert 1 <= burnt <= product.parts.settings.provider_concurrency
    assert product.counted("intro", "lost") == burnt
    assert await product.pooled("intro") == []


async def test_it_ends_when_redis_goes(product: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links already in the ledger are not lost by it, but set aside; no more are asked for."""
    await product.meeting("intro", min_fresh=100)

    async def away(*_arguments: Any) -> int:
        raise StoreUnavailable("Redis: away")

    monkeypatch.setattr(product.store, "add", away)
    await product.top_up()
    made = len(product.provider.made)
    assert 1 <= made <= 2 * product.parts.settings.provider_concurrency
    assert await product.states("intro") == {State.QUARANTINED: made}
    assert product.counted("intro", "quarantined") == made


@pytest.mark.parametrize("product", [{"provider_concurrency": 3}], indirect=True)
async def test_no_more_requests_are_under_way_than_allowed(product: InProcess) -> None:
    """The allowed number of requests is under way, and no more."""
    product.provider.gate = asyncio.Event()
    await product.meeting("intro", min_fresh=12)
    topping_up = asyncio.create_task(product.top_up())
    await until(lambda: product.provider.under_way == 3)
    for _ in range(100):
        await asyncio.sleep(0)
    product.provider.gate.set()
    await topping_up
    assert product.provider.most_under_way == 3
    assert len(product.provider.made) == 12


@pytest.mark.parametrize("product", [{"provider_concurrency": 2}], indirect=True)
async def test_a_top_up_whose_lock_is_lost_ends(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another top-up runs by then: two loops would spend the budget twice."""
    monkeypatch.setattr("pool.supply.top_up.LOOK_SECONDS", 0.0)
    product.provider.seconds = 0.01
    await product.meeting("intro", min_fresh=500)

    async def steal() -> None:
        await product.redis.bare.set(key_names.top_up_lock("default"), "somebody else")

    product.provider.will("intro", None, steal)
    assert await product.top_up() is False
    assert len(product.provider.asked) <= 8


async def test_it_ends_in_time_and_says_that_there_is_more(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker goes on at once with another run."""
    monkeypatch.setattr("pool.supply.top_up.RUN_SECONDS", 0.2)
    product.provider.seconds = 0.02
    await product.meeting("intro", min_fresh=10_000)
    began = time.monotonic()
    assert await product.top_up() is True
    assert time.monotonic() - began < 20
    assert len(await product.pooled("intro")) == len(product.provider.made) > 0


@pytest.mark.parametrize("product", [{"provider_rate": 0.1}], indirect=True)
async def test_it_ends_where_the_budget_wants_more_patience_than_a_turn(
    product: InProcess,
) -> None:
    """The sweep comes back; a task that sleeps is a worker that does nothing else."""
    await product.meeting("intro", min_fresh=50)
    began = time.monotonic()
    assert await product.top_up() is False
    assert time.monotonic() - began < 20
    assert 1 <= len(product.provider.asked) <= 5


# -- what the provider says ------------------------------------------------------------


async def test_a_429_slows_everybody_down_for_as_long_as_it_says(product: InProcess) -> None:
    """The rate falls, and no request starts before Retry-After is over."""
    await product.meeting("intro", min_fresh=100)
    product.provider.will("intro", THROTTLED)
    assert await product.top_up() is False
    assert len(product.provider.asked) <= product.parts.settings.provider_concurrency
    assert await product.store.budget.take("default", first_rate=1e4, within_seconds=25) is None
    wait = await product.store.budget.take("default", first_rate=1e4, within_seconds=40)
    assert wait is not None
    assert 25 < wait <= 31
    assert product.counted("intro", "throttled") == 1
    rate = await product.store.budget.rate("default")
    assert rate is not None
    assert rate < 10_000


async def test_a_failure_is_no_end(product: InProcess) -> None:
    """One bad answer costs one link, which is made in the next look."""
    await product.meeting("intro", min_fresh=5)
    product.provider.will("intro", FAILED, LOST)
    await product.top_up()
    await product.top_up()
    assert len(await product.pooled("intro")) == 5
    assert product.counted("intro", "failed") == 2
    assert product.counted("intro", "lost") == 1


async def test_a_refused_meeting_is_asked_for_no_further_link(product: InProcess) -> None:
    """It is blocked, with the provider's reason; its neighbours are filled in the same run."""
    await product.meeting("bad", min_fresh=200)
    await product.meeting("good", min_fresh=20)
    product.provider.always(MEETING_REFUSED, "bad")
    await product.top_up()
    assert product.provider.requests()["bad"] <= product.parts.settings.provider_concurrency
    assert len(await product.pooled("good")) == 20
    block = (await product.level("bad")).block
    assert block is not None
    assert "404" in block.reason
    await product.top_up()
    assert product.provider.requests()["bad"] <= product.parts.settings.provider_concurrency


async def test_a_refused_workspace_is_asked_for_no_further_link(product: InProcess) -> None:
    """It is not asked in this run, nor in the next before the probe is due."""
    await product.meeting("intro", min_fresh=200)
    product.provider.always(WORKSPACE_REFUSED)
    await product.top_up()
    asked = len(product.provider.asked)
    assert asked <= product.parts.settings.provider_concurrency
    block = await product.store.blocks.of_workspace("default")
    assert block is not None
    assert "401" in block.reason
    await product.top_up()
    assert len(product.provider.asked) == asked


async def block_workspace(product: InProcess, probe_in_ms: int) -> None:
    now_ms = await product.store.now_ms()
    block = Block("NeetoCal says 401", now_ms - 100_000, now_ms + probe_in_ms)
    await product.store.blocks.put_workspace("default", block)


async def block_meeting(product: InProcess, sid: str, probe_in_ms: int) -> None:
    now_ms = await product.store.now_ms()
    block = Block("NeetoCal says 404", now_ms - 100_000, now_ms + probe_in_ms)
    await product.store.blocks.put(sid, block)


async def test_a_blocked_workspace_is_probed_with_one_request(product: InProcess) -> None:
    """While it refuses, there is no second request before the next probe is due."""
    await product.meeting("intro", min_fresh=50)
    await block_workspace(product, -1)
    product.provider.always(WORKSPACE_REFUSED)
    await product.top_up()
    assert len(product.provider.asked) == 1
    await product.top_up()
    assert len(product.provider.asked) == 1


async def test_a_probe_that_succeeds_lifts_the_workspaces_block(product: InProcess) -> None:
    """Its pools are filled."""
    await product.meeting("intro", min_fresh=20)
    await block_workspace(product, -1)
    await product.top_up()
    assert await product.store.blocks.of_workspace("default") is None
    await product.top_up()
    assert len(await product.pooled("intro")) == 20


async def test_a_blocked_meeting_is_probed_with_one_request(product: InProcess) -> None:
    """It is made when the probe is due, and the next one is postponed first."""
    await product.meeting("bad", min_fresh=50)
    await block_meeting(product, "bad", 30_000)
    product.provider.always(MEETING_REFUSED, "bad")
    await product.top_up()
    assert product.provider.asked == []
    await block_meeting(product, "bad", -1)
    await product.top_up()
    await product.top_up()
    assert product.provider.asked == ["bad"]
    level = await product.level("bad")
    assert level.block is not None
    assert level.block.probe_at_ms > level.now_ms + 30_000


async def test_a_block_stands_while_it_is_probed(product: InProcess) -> None:
    """The next probe is put off: visitors and other workers ask the provider nothing."""
    await product.meeting("bad", min_fresh=50)
    await block_meeting(product, "bad", -1)
    seen = []

    async def look() -> Exception:
        seen.append(await product.level("bad"))
        return MEETING_REFUSED

    product.provider.will("bad", look)
    await product.top_up()
    [level] = seen
    assert level.block is not None
    assert level.block.probe_at_ms > level.now_ms + 30_000
    assert level.block.since_ms < level.now_ms - 50_000


async def test_a_probe_that_succeeds_lifts_the_meetings_block(product: InProcess) -> None:
    """Its pool is filled."""
    await product.meeting("bad", min_fresh=20)
    await block_meeting(product, "bad", -1)
    await product.top_up()
    assert (await product.level("bad")).block is None
    await product.top_up()
    assert len(await product.pooled("bad")) == 20


async def test_a_provider_that_repeats_a_link_adds_nothing(product: InProcess) -> None:
    """The link has a customer already: it enters no pool again, and its customer keeps it."""
    await product.meeting("intro", min_fresh=3, max_fresh=3)
    await product.stock("intro", "one-off-old")
    assert await product.claim("intro", "ann") == ["one-off-old"]
    product.provider.will("intro", "one-off-old")
    await product.top_up()
    await product.top_up()
    pooled = await product.pooled("intro")
    assert len(pooled) == 3
    assert "one-off-old" not in pooled
    assert product.counted("intro", "duplicate") == 1


async def test_a_provider_that_does_nothing_but_repeat_itself_is_probed(
    product: InProcess,
) -> None:
    """The meeting is blocked, with a reason a person can read."""
    await product.meeting("intro", min_fresh=500)
    product.provider.always("one-off-same")
    await product.top_up()
    assert len(product.provider.asked) <= 8 + product.parts.settings.provider_concurrency
    block = (await product.level("intro")).block
    assert block is not None
    assert "gave before" in block.reason
    assert await product.pooled("intro") == ["one-off-same"]


async def test_a_fence_that_falls_while_a_link_is_made_keeps_it_out(product: InProcess) -> None:
    """It belongs to the pool before: it is set aside, and the run ends."""
    await product.meeting("intro", min_fresh=100)

    async def fall() -> None:
        await product.redis.restart()

    product.provider.will("intro", fall)
    await product.top_up()
    assert await product.pooled("intro") == []
    states = await product.states("intro")
    assert set(states) == {State.QUARANTINED}
    assert states[State.QUARANTINED] <= 2 * product.parts.settings.provider_concurrency


async def test_a_step_that_fails_in_an_unknown_way_ends_the_run(product: InProcess) -> None:
    """A defect of ours must not burn links in a loop."""
    await product.meeting("intro", min_fresh=500)
    product.provider.always(RuntimeError("a defect"))
    await product.top_up()
    assert 0 < len(product.provider.asked) <= 2 * product.parts.settings.provider_concurrency


# -- how it plans ----------------------------------------------------------------------


async def test_links_under_way_count_as_stock(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look while they are made does not ask for them again."""
    monkeypatch.setattr("pool.supply.top_up.LOOK_SECONDS", 0.0)
    product.provider.seconds = 0.02
    await product.meeting("intro", min_fresh=10)
    await product.top_up()
    assert len(product.provider.asked) == 10


async def test_stock_that_is_claimed_meanwhile_is_made_in_the_same_run(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at levels, not at the message that began it."""
    monkeypatch.setattr("pool.supply.top_up.LOOK_SECONDS", 0.0)
    await product.meeting("intro", min_fresh=5, max_fresh=5)
    await product.stock("intro", "a-1", "a-2", "a-3", "a-4")

    async def claimed() -> None:
        await product.claim("intro", "ann", "ben")

    product.provider.will("intro", claimed)
    await product.top_up()
    assert len(await product.pooled("intro")) == 5
    assert len(product.provider.asked) == 3


async def test_the_target_is_left_for_the_claims_to_see(product: InProcess) -> None:
    """Below it, claims ask for a top-up."""
    await product.meeting("intro", min_fresh=7)
    await product.top_up()
    assert (await product.level("intro")).target == 7


def test_who_runs_dry_first_comes_first() -> None:
    """The runway decides; pools without claims come last, the emptiest first."""
    needs = [
        Need("idle-half", "e", 5, 10, 0.0),
        Need("idle-empty", "e", 0, 10, 0.0),
        Need("slow", "e", 10, 1_000, 1.0),
        Need("busy", "e", 10, 1_000, 5.0),
    ]
    assert next(iter(plan(needs[2:], 1))).sid == "busy"
    assert next(iter(plan(needs[:2], 1))).sid == "idle-empty"
    assert next(iter(plan([needs[0], needs[2]], 1))).sid == "slow"


def test_a_plan_shares_links_by_runway() -> None:
    """Each link planned counts as stock for the next choice; nobody gets more than is missing."""
    needs = [Need("a", "e", 0, 100, 1.0), Need("b", "e", 0, 2, 1.0), Need("c", "e", 4, 4, 1.0)]
    planned = [need.sid for need in plan(needs, 10)]
    assert len(planned) == 10
    assert planned.count("b") == 2
    assert "c" not in planned
    assert sorted(planned[:4]) == ["a", "a", "b", "b"]


def test_a_probe_is_planned_once() -> None:
    """A probe is planned once for an empty pool, too."""
    needs = [Need("blocked", "e", 0, 100, 9.0, probe=True), Need("a", "e", 0, 3, 0.0)]
    assert sorted(need.sid for need in plan(needs, 50)) == ["a", "a", "a", "blocked"]


def test_a_plan_ends() -> None:
    """It ends with everything that is missing, if that is within its limit."""
    assert len(plan([Need("a", "e", 0, 3, 0.0)], 10)) == 3
    assert plan([], 10) == []


@pytest.mark.parametrize("product", [{"provider_concurrency": 3}], indirect=True)
async def test_a_cancelled_run_waits_for_what_is_under_way(product: InProcess) -> None:
    """A link that was asked for is not abandoned on its way to the pool."""
    await product.meeting("intro", min_fresh=50)
    product.provider.gate = asyncio.Event()
    run = asyncio.create_task(product.top_up())
    await until(lambda: product.provider.under_way == 3)
    run.cancel()
    await asyncio.sleep(0.01)
    product.provider.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(await product.pooled("intro")) == 3
