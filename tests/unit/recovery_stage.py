"""Set the stage for the contracts of recovery: a meeting with its pool, and what heals it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from pool.config.settings import Settings, Workspace
from pool.durability.recorder import Recorder
from pool.durability.recovery import PoolRecovery
from pool.durability.reopening import Recovered
from pool.errors import LedgerUnavailable
from pool.ledger import Ledger
from pool.model.bookings import Booking
from pool.model.claims import booked_claim
from pool.model.links import State
from pool.model.meetings import Meeting
from pool.providers import NewLink
from pool.store import key_names
from pool.store.records import AnsweredClaim, Outcome, payload
from pool.supply.pool_writer import PoolWriter
from tests.any_redis import AnyRedis
from tests.integration.ledger_samples import NOW, report

SID = "intro"
BASE = "https://acme.neetocal.com"
NEW, REUSED = Outcome.NEW, Outcome.REUSED
ACME = Workspace(name="default", subdomain="acme", api_key=SecretStr("key"))


def booking(slug: str, state: State) -> Booking:
    """Return a report of a booking that brings the link into this state."""
    word = {State.CONSUMED: "confirmed", State.CANCELLED: "cancelled"}[state]
    return report(slug, word, sid=f"b-{slug}", starts_at=NOW, time_zone="Europe/Vienna")


@dataclass
class Stage:
    """One meeting, its pool in Redis, the ledger, and what heals them."""

    redis: AnyRedis
    ledger: Ledger
    recorder: Recorder
    fence: PoolRecovery
    conflicts: list[None] = field(default_factory=list)
    quarantined: list[int] = field(default_factory=list)  # one number for each fence that fell

    @property
    def store(self) -> Any:
        return self.redis.store

    async def recover(self, grace_seconds: float = 0.0) -> Recovered:
        return await self.fence.recover(SID, grace_seconds=grace_seconds)

    async def top_up(self, *slugs: str) -> None:
        [level] = await self.store.look([SID])
        for slug in slugs:
            await PoolWriter(self.store, self.ledger).put(
                SID, level.epoch, NewLink(slug, f"{BASE}/{slug}")
            )

    async def claim(self, who: str) -> tuple[Outcome, str]:
        name = self.store.names.name(SID, who)
        [answer] = (await self.store.claim(SID, [(name, payload(who))])).answers
        return answer.outcome, answer.claim.slug if answer.claim else ""

    async def answered(self, who: str) -> AnsweredClaim:
        """Claim. Return what the process that answered keeps of it."""
        await self.claim(who)
        held = await self.store.claim_of(SID, who)
        return AnsweredClaim(who, held, 60_000, payload(who))

    async def book(self, slug: str, state: State) -> None:
        settled = await self.ledger.bookings.settle(booking(slug, state))
        claim = booked_claim(settled.link, settled.foremost)
        await self.store.mark(SID, slug, settled.link.customer_id, claim)

    async def state(self, slug: str) -> State:
        link = await self.ledger.links.get(slug)
        assert link is not None
        return link.state

    async def pooled(self) -> list[str]:
        return [slug.decode() for slug in await self.redis.bare.zrange(key_names.fresh(SID), 0, -1)]

    async def lose_claim(self, who: str, slug: str) -> None:
        """Make Redis as it was before this claim: what an older file would hold."""
        await self.redis.bare.delete(key_names.binding(SID, self.store.names.name(SID, who)))
        await self.redis.bare.delete(key_names.claims(SID))
        await self.redis.bare.zadd(key_names.fresh(SID), {slug: 1})


def stage_on(redis: AnyRedis, ledger: Ledger, *, redis_forgets: bool = True) -> Stage:
    conflicts: list[None] = []
    quarantined: list[int] = []
    settings = Settings(workspaces={"default": ACME})
    recorder = Recorder(redis.store, ledger, settings, conflict=lambda: conflicts.append(None))
    fence = PoolRecovery(
        redis.store, ledger, recorder, redis_forgets=redis_forgets, fallen=quarantined.append
    )
    return Stage(redis, ledger, recorder, fence, conflicts, quarantined)


@pytest.fixture
async def unopened(any_redis: AnyRedis, any_ledger: Ledger) -> Stage:
    """Return a meeting that has no pool yet."""
    stage = stage_on(any_redis, any_ledger)
    await stage.ledger.meetings.put(Meeting(SID))
    return stage


@pytest.fixture
async def stage(unopened: Stage) -> Stage:
    """Return an open pool of three links."""
    assert await unopened.recover() is Recovered.OPENED
    await unopened.top_up("a-1", "a-2", "a-3")
    return unopened


async def down(*_: object, **__: object) -> Any:
    raise LedgerUnavailable("the ledger is away")
