"""Run the whole product in the test's own process: the parts of `compose`, on fakes that a test
holds.

Redis is fakeredis, the ledger is SQLite and the provider is scripted; everything else is the
product's own, wired as it wires itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pool.claims.on_demand import OnDemandLinks
from pool.compose import Parts, compose
from pool.config.settings import Settings, Workspace
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.model.times import from_ms
from pool.store import Store, key_names
from pool.store.records import Level, payload
from tests.any_redis import AnyRedis
from tests.integration.ledger_samples import report
from tests.scripted_provider import ScriptedProvider
from worker.top_up import top_up

# So many requests a second that the budget makes nobody wait.
UNPACED = 10_000.0


@dataclass
class InProcess:
    """The parts, and the fakes behind them."""

    parts: Parts
    redis: AnyRedis
    providers: dict[str, ScriptedProvider]

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def ledger(self) -> Ledger:
        return self.parts.ledger

    @property
    def provider(self) -> ScriptedProvider:
        """Return the provider of the workspace `default`."""
        return self.providers["default"]

    async def meeting(self, sid: str, *, is_open: bool = True, **settings: Any) -> Meeting:
        """Add a meeting as a sweep and a recovery leave it: in the ledger, published, its pool open
        and empty.
        """
        meeting = Meeting(sid, **settings)
        await self.ledger.meetings.put(meeting)
        await self.store.published.put([meeting])
        if is_open:
            for pool in meeting.pools:
                await self.parts.recovery.recover(pool, grace_seconds=0.0)
        return meeting

    async def top_up(self, workspace: str = "default") -> bool:
        """Run the task once."""
        return await top_up(self.parts, workspace)

    async def stock(self, sid: str, *slugs: str, made_at_ms: int | None = None) -> None:
        """Put links into ledger and pool, the first being the oldest."""
        level = await self.level(sid)
        at = level.now_ms if made_at_ms is None else made_at_ms
        for number, slug in enumerate(slugs):
            link = Link(
                slug=slug,
                url=f"{self.provider.link_url}/{slug}",
                meeting_sid=sid,
                state=State.FRESH,
                source="pool",
                epoch=level.epoch,
                created_at=from_ms(at + number),
            )
            await self.ledger.links.insert_fresh([link])
            await self.store.add(sid, level.epoch, [slug], at + number)

    async def claim(self, sid: str, *customers: str) -> list[str]:
        """Claim one link after the other, without the desk. Return the slugs, "" where there was
        none.
        """
        slugs = []
        for who in customers:
            batch = await self.store.claim(sid, [(self.store.names.name(sid, who), payload(who))])
            claim = batch.answers[0].claim
            slugs.append(claim.slug if claim else "")
        return slugs

    async def book(self, slug: str, state: str = "confirmed", sid: str = "b-1") -> None:
        """Report a booking to the ledger; a report of a later state is newer."""
        await self.ledger.bookings.settle(report(slug, state, sid=sid))

    async def level(self, sid: str) -> Level:
        [level] = await self.store.look([sid])
        return level

    async def pooled(self, sid: str) -> list[str]:
        """Return the slugs in the pool, the next to be handed out first."""
        return await self.store.stock.oldest(sid, 100_000)

    async def states(self, sid: str) -> dict[State, int]:
        """Return the number of the meeting's links in each state, as the ledger has them."""
        return await self.ledger.counts.of(sid)

    async def state(self, slug: str) -> State | None:
        link = await self.ledger.links.get(slug)
        return link.state if link else None

    async def budget(self, field: str, workspace: str = "default") -> float:
        """Return a number that the shared budget keeps; lua/budget.lua names them."""
        value: Any = await self.redis.bare.hget(key_names.budget(workspace), field)
        return float(value or 0)

    def counted(self, sid: str, outcome: str) -> float:
        """Return the values of linkpool_topup_links_total."""
        return self._sample("linkpool_topup_links_total", meeting=sid, outcome=outcome)

    def metric(self, name: str, **labels: str) -> float:
        return self._sample(name, **labels)

    def on_demand(self, *, timeout_seconds: float = 1.0) -> OnDemandLinks:
        """Return the on-demand links of one API process."""
        return OnDemandLinks(
            self.store, self.ledger, self.parts.makers, timeout_seconds=timeout_seconds
        )

    def _sample(self, name: str, **labels: str) -> float:
        for family in self.parts.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until this holds. Fail after half a minute."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a condition is no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def in_process(
    redis: AnyRedis, database_url: str, *workspaces: str, **settings: Any
) -> AsyncIterator[InProcess]:
    """Compose the product on this Redis and this ledger, with a scripted provider for every
    workspace.

    Settings are those of `Settings`; the provider's budget is unlimited unless they say so.
    """
    named = {
        name: Workspace.model_validate(
            {
                "name": name,
                "subdomain": "acme" if name == "default" else name,
                "api_key": "key",
                "webhook_secret": "a secret of the tests, long enough",
            }
        )
        for name in workspaces or ("default",)
    }
    providers = {
        name: ScriptedProvider(each.link_url, secret="a secret of the tests, long enough")
        for name, each in named.items()
    }
    values: dict[str, Any] = {"provider_rate": UNPACED, "database_url": database_url}
    made = Settings(workspaces=named, **values | settings)

    def open_provider(workspace: Workspace, **_options: object) -> ScriptedProvider:
        return providers[workspace.name]

    with (
        patch("pool.compose.open_provider", open_provider),
        patch("pool.compose._store", lambda *_: redis.another_store()),
    ):
        async with compose(made) as parts:
            yield InProcess(parts, redis, providers)
