"""Open the part of linkpool that makes Redis and ledger agree, for steps that need nothing else.

`linkpool up` prepares the pools as it starts and seals them as it ends: importing what makes
links, reads webhooks and counts would take longer than what it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pool.config.addresses import database_url, redis_url, secret_key
from pool.config.settings import Settings
from pool.durability.recorder import Recorder
from pool.durability.recovery import PoolRecovery
from pool.errors import SettingsError
from pool.ledger import Ledger
from pool.store import Store

_FINGERPRINT = "secret-key-fingerprint"


@dataclass(frozen=True, slots=True)
class Durability:
    """Redis, the ledger, and what makes them agree."""

    store: Store
    ledger: Ledger
    recovery: PoolRecovery

    async def pools(self) -> list[str]:
        """Return the names of the pools of all meetings."""
        return [pool for each in await self.ledger.meetings.all() for pool in each.pools]


@asynccontextmanager
async def open_durability(settings: Settings) -> AsyncIterator[Durability]:
    """Open store and ledger, which connect when needed, and close them at the end."""
    async with AsyncExitStack() as stack:
        store = Store.open(
            redis_url(settings),
            secret_key(settings),
            timeout_seconds=settings.claim_timeout_seconds,
        )
        stack.push_async_callback(store.close)
        ledger = Ledger.open(database_url(settings), settings.database_connections)
        stack.push_async_callback(ledger.close)
        recorder = Recorder(store, ledger, settings, conflict=lambda: None)
        recovery = PoolRecovery(
            store,
            ledger,
            recorder,
            redis_forgets=settings.redis_forgets,
            fallen=lambda _pools: None,  # nobody reads the counts of a process that ends
        )
        yield Durability(store, ledger, recovery)


async def seal_all(settings: Settings, *, undo: bool = False) -> tuple[int, int]:
    """Seal all pools, or remove their seals. Return in how many it was done, and their number."""
    async with open_durability(settings) as parts:
        pools = await parts.pools()
        done = await (parts.recovery.unseal(pools) if undo else parts.recovery.seal(pools))
        return len(done), len(pools)


async def check_secret_key(ledger: Ledger, fingerprint: str) -> None:
    """Raise SettingsError if the ledger was filled under another secret key.

    With two keys one customer would have two names, and get two links.
    """
    if await ledger.facts.keep(_FINGERPRINT, fingerprint) != fingerprint:
        raise SettingsError(
            "LINKPOOL_SECRET_KEY",
            "is not the key that this ledger was created with; every process needs the same key",
        )
