"""Put together what keeps the pools of all meetings in Redis."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis

from pool.model.meetings import Meeting
from pool.store import key_names, scripts
from pool.store.alerts import Alerts
from pool.store.asserted import AssertedMarks
from pool.store.bindings import CustomerNames
from pool.store.blocks import Blocks
from pool.store.budget import Budget
from pool.store.claims import Claims
from pool.store.claims_stream import ClaimsStream
from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.wire import ClusterWire
from pool.store.connect import open_redis, store_errors
from pool.store.erasing import Erasing
from pool.store.history import History
from pool.store.levels import Levels
from pool.store.locks import Locks
from pool.store.outlooks import Outlooks
from pool.store.published import Published
from pool.store.pulses import Pulses
from pool.store.records import Level
from pool.store.recovery import RecoverySteps
from pool.store.replies import expect
from pool.store.server import Server
from pool.store.set_aside import SetAsides
from pool.store.stock import Stock
from pool.store.summed import Looked, looked_at, summed
from pool.store.tallies import Tallies
from pool.store.visitor_limits import VisitorLimits
from pool.store.wire import Wire


class Store(Claims, Server):
    """Claims, stock and bookkeeping in Redis. A method takes one round trip unless it says more.

    Every method raises StoreUnavailable when Redis does not answer in time or refuses.
    """

    def __init__(
        self, redis: Redis, names: CustomerNames, wire: Wire | ClusterWire | None = None
    ) -> None:
        super().__init__(redis, names, wire)
        self._levels = Levels(redis)
        self.published = Published(redis)
        self.recovery = RecoverySteps(redis, names, wire)
        self.asserted = AssertedMarks(redis)
        self.blocks = Blocks(redis)
        self.budget = Budget(redis)
        self.locks = Locks(redis)
        self.set_aside = SetAsides(redis)
        self.stock = Stock(redis)
        self.stream = ClaimsStream(redis, self.set_aside)
        self.tallies = Tallies(redis)
        self.pulses = Pulses(redis)
        self.history = History(redis, self.tallies)
        self.alerts = Alerts(redis)
        self.outlooks = Outlooks(redis)
        self.erasing = Erasing(redis)
        self.visitor_limits = VisitorLimits(redis, names)

    @classmethod
    def open(
        cls,
        url: str,
        secret_key: bytes,
        *,
        timeout_seconds: float = 2.0,
        max_connections: int = 32,
        **parts: Any,
    ) -> Self:
        """Return a store that connects when first used. A subclass's constructor gets `parts`."""
        redis = open_redis(url, timeout_seconds=timeout_seconds, max_connections=max_connections)
        wire = ClusterWire(redis) if isinstance(redis, ClusterRedis) else Wire(redis)
        return cls(redis, CustomerNames(secret_key), wire, **parts)

    def above_reserve(self) -> Self:
        """Return a store on the same connections whose claims leave each meeting's reserve."""
        other = copy.copy(self)
        other._claim_script = "public_claim"
        return other

    async def close(self) -> None:
        """Close all connections."""
        if self._wire is not None:
            self._wire.close()
        # A client does not close a pool that was passed to it unless asked to.
        await self._redis.aclose(close_connection_pool=True)

    async def add(self, sid: str, epoch: str, slugs: Sequence[str], made_at_ms: int) -> int:
        """Put links whose ledger rows carry `epoch` into the pool. Return the level after that.

        It must never be repeated: when its outcome is in doubt, the links must be quarantined.
        Raise Fenced if the pool is of another epoch by now.
        """
        echo = next(self._echoes)
        reply = await scripts.run(
            self._redis,
            "add",
            [key_names.epoch(sid), key_names.fresh(sid), key_names.demand(sid)],
            [echo, epoch, made_at_ms, *slugs],
        )
        expect(reply, echo, sid)
        return int(reply[3])

    async def newest_ms(self, sid: str) -> int | None:
        """Return when the pool's youngest link was made (ms), or None if the pool is empty."""
        with store_errors():
            newest: Any = await self._redis.zrange(key_names.fresh(sid), -1, -1, withscores=True)
        return int(newest[0][1]) if newest else None

    async def look(self, sids: Sequence[str]) -> list[Level]:
        """Return the levels of these pools, in their order, in one pipeline."""
        return await self._levels.look(sids)

    async def look_at(self, meetings: Sequence[Meeting]) -> Looked:
        """Return the levels of these meetings and of all their pools, in one pipeline."""
        return summed(meetings, await self._levels.look(looked_at(meetings)))

    def pool_of(self, meeting: Meeting, customer_id: str) -> str:
        """Return the name of the pool that serves this customer."""
        if meeting.shards == 1:
            return meeting.sid
        return meeting.pool_of(self.names.name(meeting.sid, customer_id))
