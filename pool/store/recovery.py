"""The steps of sealing and recovering a pool; pool/durability/recovery.py puts them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from redis.asyncio import Redis

from pool.errors import StoreError
from pool.model.links import Claim
from pool.store import key_names, scripts
from pool.store.bindings import CustomerNames, pack
from pool.store.connect import store_errors
from pool.store.records import PoolFence
from pool.store.replies import fence_of
from pool.store.wire import Wire

_STANDINGS = 500  # epochs a script call reads; a tenth of a millisecond
# For a call, because a wire by itself waits for ever; hundreds of bindings take milliseconds.
CALL_SECONDS = 2.0


class RecoveryLost(StoreError):
    """Somebody else recovers this pool by now, or another server answers."""


class Rebind(NamedTuple):
    """What one binding should be: bound for `ttl_ms` (0: for good), or dropped."""

    customer_id: str
    claim: Claim
    what: Literal["bind", "drop"]
    ttl_ms: int


class RecoverySteps:
    """Script calls that check at every step that the recovery lock is still held."""

    def __init__(self, redis: Redis, names: CustomerNames, wire: Wire | None = None) -> None:
        self._redis = redis
        self._wire = redis if wire is None else wire
        self._names = names

    async def seal(self, sid: str, token: str) -> bool:
        """From here on nothing is handed out; False if the fence had fallen already."""
        with store_errors():
            return bool(
                await scripts.run(self._redis, "seal", [key_names.epoch(sid)], [token]) == 1
            )

    async def epoch(self, sid: str) -> str:
        """The epoch as it stands; empty if there is none."""
        with store_errors():
            value: Any = await self._redis.get(key_names.epoch(sid))
        return value.decode() if value else ""

    async def fences(self, sids: Sequence[str]) -> list[PoolFence]:
        """The fences of these pools and no more: cheap enough to look at thousands often.

        Some hundred pools a round trip, so that claims have their turns in between.
        """
        found: list[PoolFence] = []
        for start in range(0, len(sids), _STANDINGS):
            some = sids[start : start + _STANDINGS]
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

    async def begin(self, sid: str, token: str, *, keep_fresh: bool) -> str:
        """Takes the epoch away and empties the pool unless told otherwise; who the server is."""
        with store_errors():
            status, identity = await scripts.run(
                self._redis,
                "recover_begin",
                [key_names.recovery_lock(sid), key_names.epoch(sid), key_names.fresh(sid)],
                [token, int(keep_fresh)],
            )
        _check(status, sid)
        return str(identity.decode())

    def packed(self, sid: str, rebinds: Iterable[Rebind]) -> str:
        """What `put` takes, for bindings as the ledger knows them, in this order."""
        name = self._names.name
        # No value holds the end of a line, for no id that we take holds control characters.
        return "".join(
            [
                f"{name(sid, customer_id)} {ttl_ms if what == 'bind' else what} {pack(claim)}\n"
                for customer_id, claim, what, ttl_ms in rebinds
            ]
        )

    async def put(self, sid: str, token: str, packed: str) -> None:
        """Puts bindings back. On its way to Redis as soon as it is first awaited."""
        # One argument for all: a key and three arguments for each take far longer.
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
        """Drops bindings, given as (customer name, slug), that must not be there any more."""
        lines = [
            f"{name} drop {pack(Claim(slug, 'claimed', 'pool', 0))}\n" for name, slug in bindings
        ]
        await self.put(sid, token, "".join(lines))

    async def open(self, sid: str, token: str, identity: str, nonce: str) -> None:
        """Sets the new epoch `identity:nonce`: claims are answered again."""
        with store_errors():
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
