"""Make the bindings in Redis agree with the ledger, while a pool is being recovered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pool.ledger import Ledger
from pool.ledger.records import Binding
from pool.model.claims import claim_in_state
from pool.model.links import State
from pool.model.pools import serves, sid_of
from pool.store import Store
from pool.store.locks import Held
from pool.store.recovery import Rebind, RecoveryLost

CALL = 500  # bindings per script call; a hundred take well under a millisecond


async def load_bindings(store: Store, ledger: Ledger, pool: str, lock: Held) -> None:
    """Load the live bindings from the ledger into Redis.

    The calls are made one after the other, because a customer's latest claimed link must come
    last. While Redis is at work on one call, the next is packed.
    """
    recovery = store.recovery
    now_ms = await store.now_ms()
    under_way: asyncio.Task[None] | None = None
    try:
        async for bindings in ledger.links.live_bindings(sid_of(pool)):
            for start in range(0, len(bindings), CALL):
                rebinds = (as_rebind(each, now_ms) for each in bindings[start : start + CALL])
                packed = recovery.packed(pool, filter(None, rebinds))
                if under_way is not None:
                    await under_way
                under_way = asyncio.create_task(recovery.put(pool, lock.token, packed))
                await asyncio.sleep(0)  # so that the call starts
            await keep(lock, pool)
        if under_way is not None:
            await under_way
    finally:
        if under_way is not None:
            under_way.cancel()
            await asyncio.wait([under_way])


async def drop_forgotten(store: Store, ledger: Ledger, pool: str, lock: Held) -> None:
    """Drop the bindings of erased customers that an older file of Redis brought back."""
    after = ""
    while page := await ledger.links.forgotten(sid_of(pool), after=after, limit=CALL):
        named = ((each.customer_name, each.slug) for each in page)
        await drop_served(store, pool, lock, named)
        await keep(lock, pool)
        after = page[-1].slug


async def drop_served(
    store: Store, pool: str, lock: Held, named: Iterable[tuple[str, str]]
) -> None:
    """Drop those of the bindings, given as (customer name, slug), that this pool holds."""
    served = [(name, slug) for name, slug in named if serves(pool, name)]
    await store.recovery.drop(pool, lock.token, served)


async def keep(lock: Held, pool: str) -> None:
    """Renew the lock of a pool's recovery. Raise RecoveryLost if it was lost."""
    if not await lock.extend():
        raise RecoveryLost(f"the lock of {pool} expired")


def as_rebind(binding: Binding, now_ms: int) -> Rebind | None:
    """Return what Redis must do for a ledger row, and None if the claim has lapsed by now."""
    claim = claim_in_state(
        binding.slug,
        binding.state,
        binding.source,
        binding.claimed_at_ms,
        binding.consumed_at_ms,
        binding.booking_sid,
        binding.booked,
    )
    if binding.state is State.CANCELLED:
        return Rebind(binding.customer_id, claim, "drop", 0)
    if binding.state is State.CONSUMED:
        return Rebind(binding.customer_id, claim, "bind", 0)
    ttl_ms = binding.lapses_at_ms - now_ms if binding.lapses_at_ms else 0
    return Rebind(binding.customer_id, claim, "bind", ttl_ms) if ttl_ms > 0 else None
