"""Test the way of a new link to the pool, on a real Redis and a real database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pool.errors import LedgerUnavailable, StoreUnavailable
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.providers import NewLink
from pool.supply.pool_writer import PoolWriter
from tests.any_redis import AnyRedis
from tests.unit.store_contract import SID, open_pool
from worker.expire import withdraw_strangers


def made(slug: str) -> NewLink:
    return NewLink(slug, f"https://acme.neetocal.com/{slug}")


async def stocked(ledger: Ledger, real_redis: AnyRedis) -> str:
    await ledger.meetings.put(Meeting(SID))
    return await open_pool(real_redis)


async def test_links_made_at_once_share_a_write(
    any_ledger: Ledger, real_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred links cost a handful of transactions, and all of them enter the pool."""
    epoch = await stocked(any_ledger, real_redis)
    writes = []
    insert = any_ledger.links.insert_fresh

    async def counted(links: list[Link]) -> set[str]:
        writes.append(len(links))
        return await insert(links)

    monkeypatch.setattr(any_ledger.links, "insert_fresh", counted)
    pool_writer = PoolWriter(real_redis.store, any_ledger)
    slugs = [f"one-off-{number}" for number in range(100)]
    outcomes = await asyncio.gather(*(pool_writer.put(SID, epoch, made(slug)) for slug in slugs))
    assert set(outcomes) == {"added"}
    assert len(writes) <= 5
    assert sum(writes) == 100
    assert all(await real_redis.store.stock.pooled(SID, slugs))


async def test_a_repeated_slug_enters_once(any_ledger: Ledger, real_redis: AnyRedis) -> None:
    """A slug enters once, even if it comes twice in one write or again in a later one."""
    epoch = await stocked(any_ledger, real_redis)
    pool_writer = PoolWriter(real_redis.store, any_ledger)
    twice = await asyncio.gather(
        *(pool_writer.put(SID, epoch, made("one-off-1")) for _ in range(2))
    )
    assert sorted(twice) == ["added", "duplicate"]
    assert await pool_writer.put(SID, epoch, made("one-off-1")) == "duplicate"
    assert (await real_redis.store.look([SID]))[0].fresh == 1


async def test_a_link_of_another_epoch_is_set_aside(
    any_ledger: Ledger, real_redis: AnyRedis
) -> None:
    """When the fence fell between planning and adding, the link is quarantined and not pooled."""
    await stocked(any_ledger, real_redis)
    pool_writer = PoolWriter(real_redis.store, any_ledger)
    assert await pool_writer.put(SID, "another:epoch:1", made("one-off-2")) == "quarantined"
    row = await any_ledger.links.get("one-off-2")
    assert row is not None
    assert row.state is State.QUARANTINED
    assert await real_redis.store.stock.pooled(SID, ["one-off-2"]) == [False]


async def test_links_whose_pooling_is_in_doubt_are_taken_out_again(
    any_ledger: Ledger, real_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the reply is lost after links have entered, ledger and pool still agree."""
    epoch = await stocked(any_ledger, real_redis)
    add = real_redis.store.add

    async def lost(*arguments: Any) -> int:
        await add(*arguments)
        raise StoreUnavailable("Redis: connection lost", connection_lost=True)

    monkeypatch.setattr(real_redis.store, "add", lost)
    pool_writer = PoolWriter(real_redis.store, any_ledger)
    assert await pool_writer.put(SID, epoch, made("one-off-3")) == "quarantined"
    assert await real_redis.store.stock.pooled(SID, ["one-off-3"]) == [False]


async def test_what_stays_in_a_pool_by_a_lost_reply_is_found_later(
    any_ledger: Ledger, real_redis: AnyRedis
) -> None:
    """After that the pool holds only links that are fresh in the ledger."""
    epoch = await stocked(any_ledger, real_redis)
    pool_writer = PoolWriter(real_redis.store, any_ledger)
    for slug in ("one-off-4", "one-off-5"):
        assert await pool_writer.put(SID, epoch, made(slug)) == "added"
    await any_ledger.links.move(["one-off-4"], State.QUARANTINED, at=datetime.now(UTC))
    parts: Any = SimpleNamespace(store=real_redis.store, ledger=any_ledger)
    assert await withdraw_strangers(parts, SID) == 1
    assert await real_redis.store.stock.pooled(SID, ["one-off-4", "one-off-5"]) == [False, True]
    assert await withdraw_strangers(parts, SID) == 0


async def test_without_the_ledger_nothing_is_pooled(
    any_ledger: Ledger, real_redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every waiting caller gets the error, and the next link is tried again."""
    epoch = await stocked(any_ledger, real_redis)

    async def away(_links: list[Link]) -> set[str]:
        raise LedgerUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(any_ledger.links, "insert_fresh", away)
        pool_writer = PoolWriter(real_redis.store, any_ledger)
        told = await asyncio.gather(
            *(pool_writer.put(SID, epoch, made(f"one-off-{n}")) for n in range(3)),
            return_exceptions=True,
        )
        assert all(isinstance(error, LedgerUnavailable) for error in told)
    assert (await real_redis.store.look([SID]))[0].fresh == 0
    assert await pool_writer.put(SID, epoch, made("one-off-9")) == "added"
