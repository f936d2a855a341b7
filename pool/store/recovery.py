"""Run the steps of sealing and recovering a pool, which pool/durability/reopening.py orders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from redis.asyncio import Redis

from pool.errors import StoreError
from pool.model.links import Claim
from pool.model.pools import serves
from pool.store import key_names, scripts
from pool.store.bindings import CustomerNames, pack
from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.wire import ClusterWire
from pool.store.connect import store_errors
from pool.store.records import PoolFence, Totals
from pool.store.replies import FOREIGN, fence_of
from pool.store.wire import Wire

_STANDINGS = 500  # epochs per script call, which then takes a tenth of a millisecond
# Limits one call, since a wire by itself waits for ever; hundreds of bindings take milliseconds.
CALL_SECONDS = 2.0


class RecoveryLost(StoreError):
    """Another process is recovering this pool, or another server answers."""


class Rebind(NamedTuple):
    """The right state of one binding: bound for `ttl_ms` (0: without end), or dropped."""

    customer_id: str
    claim: Claim
    what: Literal["bind", "drop"]
    ttl_ms: int


class Closed(NamedTuple):
    """A pool as it was when it was closed."""

    epoch: str
    stood: bool  # it handed out links until then, so it has forgotten none
    totals: Totals


class RecoverySteps:
    """Script calls that check at every step that the recovery lock is still held."""

    def __init__(
        self, redis: Redis, names: CustomerNames, wire: Wire | ClusterWire | None = None
    ) -> None:
        self._redis = redis
        self._wire = redis if wire is None else wire
        self._names = names

    async def seal(self, sid: str, token: str) -> bool:
        """Seal the pool: it hands out nothing more. Return False if its fence had fallen."""
        return bool(await scripts.run(self._redis, "seal", [key_names.epoch(sid)], [token]) == 1)

    async def disown(self, sid: str, epoch: str) -> None:
        """Let a pool of this epoch hand out nothing until it is recovered."""
        with store_errors():
            await self._redis.set(key_names.epoch(sid), FOREIGN + epoch)

    async def close(self, sid: str) -> Closed:
        """Close a pool whose meeting has another number of shards. It hands out nothing more."""
        epoch, stood, *totals = await scripts.run(
            self._redis,
            "close",
            [
                key_names.recovery_lock(sid),
                key_names.epoch(sid),
                key_names.fresh(sid),
                key_names.demand(sid),
            ],
            [],
        )
        return Closed(epoch.decode(), stood == 1, Totals(*totals))

    async def carry(self, sid: str, totals: Totals) -> None:
        """Add the totals of a pool that was closed to those kept under its meeting's SID."""
        names = {"streamed": totals.claims, "pooled": totals.top_ups, "booked": totals.bookings}
        with store_errors():
            pipe = self._redis.pipeline(transaction=True)
            for name, count in names.items():
                pipe.hincrby(key_names.demand(sid), name, count)
            await pipe.execute()

    async def clear(self, sid: str, token: str) -> None:
        """Delete what is left of a pool that was closed, except its bindings.

        Its lock must be held.

        What stands under a meeting's SID stays: it concerns the meeting as a whole, too.
        """
        keys = [key_names.claims(sid), key_names.fresh(sid), key_names.nudged(sid)]
        if ":" in sid:
            keys += [key_names.demand(sid), key_names.meeting(sid)]
        status = await scripts.run(
            self._redis, "clear", [key_names.recovery_lock(sid), *keys], [token]
        )
        _check(status, sid)

    async def epoch(self, sid: str) -> str:
        """Return the pool's epoch, empty if there is none."""
        with store_errors():
            value: Any = await self._redis.get(key_names.epoch(sid))
        return value.decode() if value else ""

    async def fences(self, sids: Sequence[str]) -> list[PoolFence]:
        """Return only the fences of these pools: cheap enough to look at thousands often.

        It takes a round trip for every few hundred pools, so that claims get their turns. On a
        Redis Cluster a pool whose master is away is `unreadable`.
        """
        found: list[PoolFence] = []
        for start in range(0, len(sids), _STANDINGS):
            some = sids[start : start + _STANDINGS]
            if isinstance(self._redis, ClusterRedis):
                found += await self._fences_apart(some)
                continue
            with store_errors():
                async with asyncio.timeout(CALL_SECONDS):
                    identity, epochs = await scripts.run(
                        self._wire, "fences", [key_names.epoch(sid) for sid in some], []
                    )
            server = identity.decode()
            found += (
                PoolFence(sid, fence_of(epoch, server), epoch)
                for sid, epoch in zip(some, epochs.decode().split("\n"), strict=True)
            )
        return found

    async def _fences_apart(self, sids: Sequence[str]) -> list[PoolFence]:
        """Return the fences of pools that may lie on several masters, by a call for each."""
        with store_errors():
            async with asyncio.timeout(CALL_SECONDS):
                replies = await self._ask_apart(sids)
                if any(scripts.is_unknown(reply) for reply in replies):
                    await scripts.load(self._redis, "fences")
                    replies = await self._ask_apart(sids)
        found = []
        for sid, reply in zip(sids, replies, strict=True):
            if isinstance(reply, Exception):
                found.append(PoolFence(sid, "unreadable", ""))
            else:
                server, epoch = (text.decode() for text in reply)
                found.append(PoolFence(sid, fence_of(epoch, server), epoch))
        return found

    async def _ask_apart(self, sids: Sequence[str]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for sid in sids:
            pipe.evalsha(scripts.sha1("fences"), 1, key_names.epoch(sid))
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    async def begin(self, sid: str, token: str, *, keep_fresh: bool) -> str:
        """Remove the epoch; empty the pool unless `keep_fresh`. Return the server's identity."""
        status, identity = await scripts.run(
            self._redis,
            "recover_begin",
            [key_names.recovery_lock(sid), key_names.epoch(sid), key_names.fresh(sid)],
            [token, int(keep_fresh)],
        )
        _check(status, sid)
        return str(identity.decode())

    def packed(self, sid: str, rebinds: Iterable[Rebind]) -> str:
        """Return what `put` takes, for these bindings, in this order.

        Of several pools each gets only the bindings of the customers it serves.
        """
        name_of, is_only = self._names.name, ":" not in sid
        # Lines can separate them: no value holds a line break, as no accepted id holds
        # control characters.
        return "".join(
            [
                f"{name} {ttl_ms if what == 'bind' else what} {pack(claim)}\n"
                for customer_id, claim, what, ttl_ms in rebinds
                if (name := name_of(sid, customer_id)) and (is_only or serves(sid, name))
            ]
        )

    async def put(self, sid: str, token: str, packed: str) -> None:
        """Put bindings back. The command is sent as soon as this is first awaited."""
        # One argument for all bindings: a key and three arguments for each take far longer.
        with store_errors():
            async with asyncio.timeout(CALL_SECONDS):
                status = await scripts.run(
                    self._wire,
                    "recover_bind",
                    [key_names.recovery_lock(sid), key_names.binding(sid, "")],
                    [token, packed],
                )
        _check(status, sid)

    async def drop(self, sid: str, token: str, bindings: Sequence[tuple[str, str]]) -> None:
        """Drop bindings that must not exist any more, given as (customer name, slug)."""
        lines = [
            f"{name} drop {pack(Claim(slug, 'claimed', 'pool', 0))}\n" for name, slug in bindings
        ]
        await self.put(sid, token, "".join(lines))

    async def open(self, sid: str, token: str, identity: str, nonce: str) -> None:
        """Set the new epoch `identity:nonce`, so that claims are answered again."""
        status = await scripts.run(
            self._redis,
            "recover_open",
            [key_names.recovery_lock(sid), key_names.epoch(sid)],
            [token, identity, nonce],
        )
        _check(status, sid)


def _check(status: bytes, sid: str) -> None:
    if status != b"ok":
        raise RecoveryLost(f"recovery of meeting {sid} gave way ({status.decode()})")
