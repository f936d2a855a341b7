"""Make one pool serve again after Redis may have forgotten claims.

This is done under a lock whose loss every step notices: wait a moment for the API processes to
assert what they answered lately; record what the stream holds; quarantine every link that was
fresh; load the live bindings back from the ledger; drop the bindings of erased customers; set a new
epoch. A pool whose seal the ledger confirms is adopted as it is, once.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from enum import StrEnum

from pool.durability.former_pools import FormerPools, was_opened
from pool.durability.rebinding import drop_forgotten, keep, load_bindings
from pool.durability.recorder import Recorder
from pool.durability.strangers import OPENED
from pool.ledger import Ledger
from pool.model.links import State
from pool.model.pools import nonce_of, pool_names, pool_of_epoch, shards_of, sid_of
from pool.store import Store
from pool.store.locks import Held

_EVERY = 10_000_000  # links; more than any pool holds
_SLUGS = 500  # per query


class Recovered(StrEnum):
    """The result of a recovery."""

    STANDS = "stands"  # nothing was wrong
    SEALED = "sealed"  # sealed on this very server, until it is restarted
    ADOPTED = "adopted"  # the seal held: the pool goes on as it was
    OPENED = "opened"  # a pool that was never open before
    QUARANTINED = "quarantined"  # fresh links were set aside, bindings loaded from the ledger
    BUSY = "busy"  # another process is recovering it
    UNKNOWN = "unknown"  # the ledger has no such meeting
    FAILED = "failed"  # an error, which was passed to the caller


class Reopening:
    """The steps from a fence that has fallen to a pool that serves."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        recorder: Recorder,
        former: FormerPools,
        *,
        redis_forgets: bool,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._recorder = recorder
        self._former = former
        self._redis_forgets = redis_forgets

    async def reopen(
        self, pool: str, lock: Held, grace_seconds: float, before: str | None
    ) -> tuple[Recovered, int]:
        """Recover a pool under its lock. Return the result, and how many links it cost.

        `before` is the ledger's fact on the pool.
        """
        sid = sid_of(pool)
        nonce = nonce_of(pool, secrets.token_hex(4))
        epoch = await self._store.recovery.epoch(pool)
        identity = await self._adopt(pool, lock, epoch, nonce)
        if identity:
            if self._store.is_cluster:
                await load_bindings(self._store, self._ledger, pool, lock)
            await self._open(pool, lock, identity, nonce)
            return Recovered.ADOPTED, 0
        is_new = not epoch and not await self._ledger.counts.of(sid)
        # One of several pools, or the one that takes their place, has nothing to lose yet.
        is_first = not epoch and (before is not None or pool != sid) and not was_opened(before)
        if not is_new:
            await asyncio.sleep(grace_seconds)
            await self._recorder.record_pool(pool)
            # A pool that stands on another server (two masters, for a while) no longer counts
            # from here on, even if this recovery does not finish: its links are set aside now.
            if not is_first:
                await self._ledger.facts.put(f"{OPENED}{pool}", nonce)
        quarantined = await self._ledger.links.quarantine_fresh(
            sid, at=datetime.now(UTC), epochs=await self._epochs(pool)
        )
        # From here on the pool has lost its seal, if it had one: a file that bears the seal and
        # is restored later would lack what is claimed from now on.
        await self._ledger.meetings.seal(pool, secrets.token_hex(16))
        identity = await self._store.recovery.begin(pool, lock.token, keep_fresh=False)
        if not is_new:
            await load_bindings(self._store, self._ledger, pool, lock)
            await drop_forgotten(self._store, self._ledger, pool, lock)
        await self._open(pool, lock, identity, nonce)
        opened = is_new or is_first
        return (Recovered.OPENED if opened else Recovered.QUARANTINED), quarantined

    async def _epochs(self, pool: str) -> list[str] | None:
        """Return the epochs of the fresh links that are set aside with this pool; None: all."""
        sid = sid_of(pool)
        if pool == sid:
            return None
        others = {each for each in pool_names(sid, shards_of(pool)) if each != pool}
        epochs = await self._ledger.links.fresh_epochs(sid)
        return [each for each in epochs if pool_of_epoch(sid, each) not in others]

    async def _open(self, pool: str, lock: Held, identity: str, nonce: str) -> None:
        # A recovery that lost its lock must not say that it has opened the pool. A failover may
        # have brought the lock back, so the number of shards is asked for once more.
        await keep(lock, pool)
        await self._former.check(pool)
        # The ledger is written first: from here on, any pool of another epoch must be recovered.
        await self._ledger.facts.put(f"{OPENED}{pool}", f"{identity}:{nonce}")
        await self._store.recovery.open(pool, lock.token, identity, nonce)

    async def _adopt(self, pool: str, lock: Held, epoch: str, nonce: str) -> str | None:
        """Return the server's identity if the pool has proved that it forgot nothing, else None."""
        if epoch.startswith("sealed:"):
            if self._store.is_cluster and not await self._all_fresh(pool):
                return None
            identity = await self._store.recovery.begin(pool, lock.token, keep_fresh=True)
            token = epoch.split(":")[1]
            # Spent in the ledger first: an old backup with the same seal finds it gone.
            if await self._ledger.meetings.spend_seal(pool, token, f"{identity}:{nonce}"):
                return identity
        elif epoch and not self._redis_forgets:
            identity = await self._store.recovery.begin(pool, lock.token, keep_fresh=True)
            await self._ledger.links.adopt_fresh(pool, f"{identity}:{nonce}")
            return identity
        return None

    async def _all_fresh(self, pool: str) -> bool:
        """Return True if the ledger, which knows every claim before a seal, agrees with the pool.

        A slot of a Redis Cluster is moved key by key. The seal may arrive without the rest: a
        master that crashed may have old keys in its file.
        """
        slugs = await self._store.stock.oldest(pool, _EVERY)
        for start in range(0, len(slugs), _SLUGS):
            some = slugs[start : start + _SLUGS]
            fresh = {
                link.slug
                for link in await self._ledger.links.find(some)
                if link.state is State.FRESH and link.meeting_sid == sid_of(pool)
            }
            if not fresh.issuperset(some):
                return False
        return True
