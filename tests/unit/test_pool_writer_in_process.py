"""Test the way from a link just made to its pool, and what each pool should hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.errors import Fenced, LedgerUnavailable, StoreUnavailable
from pool.model.forecast import HOUR_SECONDS, Outlook, Usual
from pool.model.links import Link, State
from pool.providers import NewLink
from pool.supply.pool_writer import PoolWriter, make_and_pool
from pool.supply.targets import targets
from tests.in_process import InProcess


def new(slug: str) -> NewLink:
    return NewLink(slug, f"https://acme.neetocal.com/{slug}")


def pool_writer(product: InProcess) -> PoolWriter:
    return PoolWriter(product.store, product.ledger)


async def epoch(product: InProcess, sid: str) -> str:
    return (await product.level(sid)).epoch


async def test_a_link_is_written_down_before_it_enters(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is fresh, with meeting and epoch: a crash leaves a row without a link, never the
    reverse.
    """
    await product.meeting("intro")
    add, rows = product.store.add, []

    async def watched(sid: str, epoch: str, slugs: Any, made_at_ms: int) -> int:
        rows.extend(await product.ledger.links.find(slugs))
        return await add(sid, epoch, slugs, made_at_ms)

    monkeypatch.setattr(product.store, "add", watched)
    at = await epoch(product, "intro")
    assert await pool_writer(product).put("intro", at, new("a-1")) == "added"
    [row] = rows
    assert (row.slug, row.url, row.meeting_sid, row.state, row.source, row.epoch) == (
        "a-1", "https://acme.neetocal.com/a-1", "intro", State.FRESH, "pool", at,
    )  # fmt: skip
    level = await product.level("intro")
    assert level.oldest_fresh_seconds is not None
    assert level.oldest_fresh_seconds < 60
    assert abs(row.created_at.timestamp() * 1000 - level.now_ms) < 5_000


async def test_links_of_several_pools_share_a_write_and_keep_apart(product: InProcess) -> None:
    """Each enters its own pool; one whose fence fell takes none of the others with it."""
    await product.meeting("intro")
    await product.meeting("demo")
    put = pool_writer(product).put
    intro, demo = await epoch(product, "intro"), await epoch(product, "demo")
    outcomes = await asyncio.gather(
        put("intro", intro, new("i-1")),
        put("demo", "of another time", new("d-1")),
        put("intro", intro, new("i-2")),
        put("intro", intro, new("i-1")),
        put("demo", demo, new("d-2")),
    )
    assert outcomes == ["added", "quarantined", "added", "duplicate", "added"]
    assert sorted(await product.pooled("intro")) == ["i-1", "i-2"]
    assert await product.pooled("demo") == ["d-2"]
    assert await product.state("d-1") is State.QUARANTINED


async def test_more_links_than_a_batch_all_enter(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link has its own outcome."""
    monkeypatch.setattr("pool.supply.pool_writer.LINKS_PER_CALL", 3)
    await product.meeting("intro")
    put, at = pool_writer(product).put, await epoch(product, "intro")
    slugs = [f"a-{number}" for number in range(10)]
    outcomes = await asyncio.gather(*(put("intro", at, new(slug)) for slug in [*slugs, "a-3"]))
    assert outcomes == ["added"] * 10 + ["duplicate"]
    assert sorted(await product.pooled("intro")) == sorted(slugs)


async def test_who_stops_waiting_disturbs_nobody(product: InProcess) -> None:
    """The link enters all the same, and so do those after it."""
    await product.meeting("intro")
    put, at = pool_writer(product).put, await epoch(product, "intro")
    first = asyncio.create_task(put("intro", at, new("a-1")))
    second = asyncio.create_task(put("intro", at, new("a-2")))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "added"
    assert sorted(await product.pooled("intro")) == ["a-1", "a-2"]


async def test_a_ledger_that_comes_back_is_written_to_again(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every link of the failed batch is reported as failed, and none of it enters later."""
    await product.meeting("intro")
    pools, at = pool_writer(product), await epoch(product, "intro")

    async def away(_links: list[Link]) -> set[str]:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(product.ledger.links, "insert_fresh", away)
        told = await asyncio.gather(
            pools.put("intro", at, new("a-1")), pools.put("intro", at, new("a-2")),
            return_exceptions=True,
        )  # fmt: skip
    assert [type(each) for each in told] == [LedgerUnavailable] * 2
    assert await pools.put("intro", at, new("a-3")) == "added"
    assert await product.pooled("intro") == ["a-3"]


async def test_links_whose_entry_is_in_doubt_are_set_aside_and_taken_out(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are never added again; while Redis stays away, taking them out is left to expire."""
    await product.meeting("intro")
    add = product.store.add

    async def lost(*arguments: Any) -> int:
        await add(*arguments)
        raise StoreUnavailable("Redis: connection lost", connection_lost=True)

    async def gone(*_arguments: Any) -> int:
        raise StoreUnavailable("Redis: away")

    monkeypatch.setattr(product.store, "add", lost)
    at = await epoch(product, "intro")
    assert await pool_writer(product).put("intro", at, new("a-1")) == "quarantined"
    assert await product.pooled("intro") == []
    monkeypatch.setattr(product.store.stock, "withdraw", gone)
    assert await pool_writer(product).put("intro", at, new("a-2")) == "quarantined"
    assert await product.states("intro") == {State.QUARANTINED: 2}


# -- one out of turn ---------------------------------------------------------------------


async def test_one_link_can_be_made_out_of_turn(product: InProcess) -> None:
    """It is pooled like every other."""
    await product.meeting("intro")
    maker = product.parts.makers["default"]
    assert await make_and_pool(maker, product.store, product.ledger, "intro") == "added"
    assert await product.pooled("intro") == [product.provider.made[0].slug]


async def test_no_link_is_burnt_where_it_could_not_enter(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No link is burnt behind a fallen fence or without the ledger."""
    await product.meeting("intro")
    maker = product.parts.makers["default"]

    async def away() -> None:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(product.ledger, "ping", away)
        with pytest.raises(LedgerUnavailable):
            await make_and_pool(maker, product.store, product.ledger, "intro")
    await product.redis.restart()
    with pytest.raises(Fenced) as fenced:
        await make_and_pool(maker, product.store, product.ledger, "intro")
    assert fenced.value.sid == "intro"
    assert product.provider.asked == []


# -- targets -----------------------------------------------------------------------------


async def test_a_target_follows_the_forecast_where_it_is_asked_to(product: InProcess) -> None:
    """Only a meeting that asks for it follows the forecast; each meeting has its own."""
    fixed = await product.meeting("fixed", min_fresh=5, max_fresh=1_000)
    auto = await product.meeting("auto", min_fresh=5, max_fresh=1_000, target_mode="auto")
    other = await product.meeting("other", min_fresh=7, max_fresh=1_000, target_mode="auto")
    hour = (await product.level("auto")).now_ms // 1000 // HOUR_SECONDS
    busy = Outlook(hour, tuple(Usual(90_000.0, 0.0) for _ in range(24)))
    await product.store.outlooks.put({"auto": busy, "fixed": busy})
    meetings = {each.sid: each for each in (fixed, auto, other)}
    levels = await product.store.look(sorted(meetings))
    wanted = await targets(product.store, meetings, levels)
    assert wanted["fixed"] == 5
    assert wanted["other"] == 7
    assert 50 < wanted["auto"] <= 1_000


async def test_a_target_rises_with_the_claims(product: InProcess) -> None:
    """Between what the meeting has at least and at most."""
    await product.meeting("intro", min_fresh=1, max_fresh=30, cover_seconds=300)
    await product.stock("intro", *(f"a-{number}" for number in range(20)))
    await product.claim("intro", *(f"c-{number}" for number in range(20)))
    meetings = {"intro": await product.meeting("intro", min_fresh=1, max_fresh=30)}
    wanted = await targets(product.store, meetings, await product.store.look(["intro"]))
    assert wanted == {"intro": 30}
