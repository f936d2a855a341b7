"""Test links made on demand: the crowd at an empty pool, and the budget it leaves to others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.claims.on_demand import AT_ONCE, OnDemandLinks
from pool.errors import PoolEmpty
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from pool.providers import NewLink
from pool.store.records import payload
from pool.supply.link_maker import LinkMaker
from tests.any_redis import AnyRedis
from tests.unit.store_contract import SID, open_pool

RATE = 2.0  # links a second that the provider's budget allows
TIMEOUT_SECONDS = 1.0


class Provider:
    """Makes every link in the time the test says."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.made = 0

    async def create_link(self, _sid: str) -> NewLink:
        await asyncio.sleep(self.seconds)
        self.made += 1
        slug = f"one-off-{self.made:012x}"
        return NewLink(slug, f"https://acme.neetocal.com/{slug}")


def on_demand_of(redis: AnyRedis, ledger: Ledger, provider: Provider) -> OnDemandLinks:
    """Return the on-demand links of one workspace, whose budget is RATE."""
    anything: Any = provider
    maker = LinkMaker(
        "default", anything, redis.store,
        first_rate=RATE, probe_seconds=60, counted=lambda *_: None,
    )  # fmt: skip
    return OnDemandLinks(redis.store, ledger, {"default": maker}, timeout_seconds=TIMEOUT_SECONDS)


@pytest.fixture
async def meeting(fake_redis: AnyRedis, sqlite_ledger: Ledger) -> Meeting:
    """Return a meeting whose pool is empty."""
    meeting = Meeting(SID)
    await sqlite_ledger.meetings.put(meeting)
    await open_pool(fake_redis)
    return meeting


async def make_and_bind(
    on_demand: OnDemandLinks, redis: AnyRedis, meeting: Meeting, who: str
) -> bool:
    """Return True if this customer got a link."""
    try:
        await on_demand.make_and_bind(meeting, redis.store.names.name(SID, who), payload(who))
    except PoolEmpty:
        return False
    return True


async def test_a_link_is_made_for_who_comes_alone(
    fake_redis: AnyRedis, sqlite_ledger: Ledger, meeting: Meeting
) -> None:
    """It is in the ledger, and bound."""
    on_demand = on_demand_of(fake_redis, sqlite_ledger, Provider(0.01))
    claim, made = await on_demand.make_and_bind(
        meeting, fake_redis.store.names.name(SID, "ann"), payload("ann")
    )
    assert (claim.source, made) == ("direct", True)
    assert await sqlite_ledger.links.get(claim.slug) is not None
    assert await fake_redis.store.claim_of(SID, "ann") == claim


async def test_a_crowd_reserves_no_turn_that_nobody_can_use(
    fake_redis: AnyRedis,
    sqlite_ledger: Ledger,
    meeting: Meeting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The crowd would fill the budget for a minute.

    The next turn is still near, so that top-up gets its share, and every used turn became a link.
    """
    take, taken = fake_redis.store.budget.take, []

    async def counted(*args: Any, **options: Any) -> float | None:
        wait = await take(*args, **options)
        if wait is not None:
            taken.append(wait)
        return wait

    monkeypatch.setattr(fake_redis.store.budget, "take", counted)
    provider = Provider(0.05)
    on_demand = on_demand_of(fake_redis, sqlite_ledger, provider)
    came = [
        asyncio.create_task(make_and_bind(on_demand, fake_redis, meeting, f"visitor-{number}"))
        for number in range(60)
    ]
    await asyncio.sleep(0.9 * TIMEOUT_SECONDS)
    wait = await take("default", first_rate=RATE, within_seconds=60)
    assert wait is not None
    assert wait <= TIMEOUT_SECONDS / 2 + 1 / RATE
    got = sum(await asyncio.gather(*came))
    assert got == provider.made == len(taken) >= AT_ONCE - 1
