"""Find pools whose links this ledger never wrote, and keep them from being handed out.

Somebody may set DATABASE_URL to another database while Redis keeps the pools of the old one. Such a
pool looks healthy, but its links have no rows. After Redis has lost data nobody could say who holds
such a link, and its booking would match nothing. So the pool counts as another ledger's. A ledger
notes each pool before it opens it; a pool that it did not note, with links that it does not know,
belongs to another ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from pool.errors import LinkpoolError
from pool.ledger import Ledger
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.records import Level

log = structlog.get_logger()

OPENED = "opened:"  # the fact that names the epoch a meeting's pool was last opened for
SAMPLED = 5  # links of a pool
REASON = "its links are not in this database: is LINKPOOL_DATABASE_URL the one they were made with?"


class Strangers:
    """Looks for pools that belong to another ledger."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def find(
        self, levels: Sequence[Level], opened: Mapping[str, str] | None = None
    ) -> list[Level]:
        """Return the ones among these pools that belong to another ledger.

        `opened` are the ledger's facts on opened pools, read here if they are not given. In a
        healthy service no pool is asked for its links.
        """
        standing = [each for each in levels if each.fence == "stands" and each.fresh]
        if not standing:
            return []
        if opened is None:
            opened = await self._ledger.facts.beginning_with(OPENED)
        found = []
        for level in standing:
            if level.sid not in opened:
                slugs = await self._store.stock.oldest(level.sid, SAMPLED)
                known = {link.slug for link in await self._ledger.links.find(slugs)}
                if set(slugs) - known:
                    found.append(level)
        return found

    async def everywhere(self, known: Collection[str] = ()) -> list[Level]:
        """Return such pools among all in this Redis, leaving out those of `known` meetings."""
        published = await self._store.published.pools()
        pools = [pool for pool in published if sid_of(pool) not in known]
        levels = await self._store.look(pools) if pools else []
        marked = [level for level in levels if level.fence == "foreign"]
        return [*marked, *await self.find(levels)]

    async def disown(self, levels: Sequence[Level]) -> None:
        """Let these pools hand out nothing until they are recovered with a ledger that has their
        meetings; their links are never handed out again then.
        """
        fresh = [level for level in levels if level.fence != "foreign"]
        for level in fresh:
            await self._store.recovery.disown(level.sid, level.epoch)
        if fresh:
            log.error("pools of another database", pools=len(fresh), reason=REASON)

    async def guard(self) -> None:
        """Look at all pools of this Redis, and disown those that are another ledger's.

        For the start of an API process, before it serves; a failure is logged, since claims must
        be served without the ledger, too.
        """
        try:
            await self.disown(await self.everywhere())
        except LinkpoolError as error:
            log.warning("pools not compared with the ledger", reason=str(error))
