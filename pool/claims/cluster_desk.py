"""Take claims for meetings on a Redis Cluster, whose masters do not wait for each other.

A desk makes a few script calls at once. Calls to a master that is away last until their deadline:
with one desk for all, they would leave no call to the meetings of the masters that answer.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from pool.claims.desk import Desk
from pool.claims.queue import Waiter
from pool.store import Store


class ClusterDesk(Desk):
    """One desk for each master. It takes what a desk takes."""

    def __init__(self, store: Store, *others: Any, **settings: Any) -> None:
        super().__init__(store, *others, **settings)
        self._make_desk = partial(Desk, store, *others, **settings)
        self._desks: dict[object, Desk] = {}  # by master; there are few

    def join(
        self, waiter: Waiter, sid: str, customer_id: str, *others: Any, **settings: Any
    ) -> None:
        """Put a customer of a known meeting in line for their pool's master, without I/O."""
        master = self._store.master_of(self.pool_of(sid, customer_id))
        desk = self._desks.get(master)
        if desk is None:
            desk = self._desks[master] = self._make_desk()
        desk.join(waiter, sid, customer_id, *others, **settings)

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        await asyncio.gather(*(desk.close() for desk in self._desks.values()))


def open_desk(store: Store, *others: Any, **settings: Any) -> Desk:
    """Return a desk, or on a Redis Cluster one for each master."""
    return (ClusterDesk if store.is_cluster else Desk)(store, *others, **settings)
