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

# Of the event loop, of some microseconds each while it is idle. More of them make batches hardly
# larger (docs/operations.md has the figures).
TURNS = 4


class ClusterDesk(Desk):
    """One desk for each master. It takes what a desk takes."""

    def __init__(self, store: Store, *others: Any, **settings: Any) -> None:
        super().__init__(store, *others, **settings)
        self._gathering = _Gathering()
        self._make_desk = partial(_MasterDesk, self._gathering, store, *others, **settings)
        self._desks: dict[object, _MasterDesk] = {}  # by master; there are few

    def join(
        self, waiter: Waiter, sid: str, customer_id: str, *others: Any, **settings: Any
    ) -> None:
        """Put a customer of a known meeting in line for their pool's master, without I/O."""
        master = self._store.master_of(self.pool_of(sid, customer_id))
        desk = self._desks.get(master)
        if desk is None:
            desk = self._desks[master] = self._make_desk()
        desk.join(waiter, sid, customer_id, *others, **settings)
        self._gathering.joined += 1

    def give_up(self, pool: str, before: float) -> None:
        """Refuse the claims of a pool that are under way, since its fence has fallen."""
        for desk in self._desks.values():
            desk.give_up(pool, before)

    async def close(self) -> None:
        """Wait for the calls that are under way, or about to begin."""
        while self._gathering.due:  # noqa: ASYNC110 - it takes a few turns of the loop
            await asyncio.sleep(0)
        await asyncio.gather(*(desk.close() for desk in self._desks.values()))


class _Gathering:
    """Has the desks of all masters send in the same turn of the loop, once no more claims come in.

    A single Redis takes the claims of several meetings in one write, and answers them together, so
    that the next ones come together as well. Of three masters each gets a third of the claims, for
    which it is woken, reads and writes as often. So the desks wait for another turn as long as the
    last one has brought claims, for whichever master, and at most TURNS.
    """

    def __init__(self) -> None:
        self.due: list[_MasterDesk] = []  # desks with something to send
        self.joined = 0  # claims so far
        self._seen = 0  # of them, at the last turn
        self._turns = 0  # that were waited for

    def add(self, desk: _MasterDesk) -> None:
        """Have this desk send soon."""
        self.due.append(desk)
        if len(self.due) == 1:
            self._turns = 0
            self._wait()

    def _wait(self) -> None:
        self._seen = self.joined
        self._turns += 1
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if self.joined != self._seen and self._turns < TURNS:
            self._wait()
            return
        due, self.due = self.due, []
        for desk in due:
            desk.send()


class _MasterDesk(Desk):
    """The desk of one master."""

    def __init__(self, gathering: _Gathering, *others: Any, **settings: Any) -> None:
        super().__init__(*others, **settings)
        self._gathering = gathering

    def _pump(self) -> None:
        self._gathering.add(self)

    def send(self) -> None:
        """Send what is ready."""
        super()._pump()


def open_desk(store: Store, *others: Any, **settings: Any) -> Desk:
    """Return a desk, or on a Redis Cluster one for each master."""
    return (ClusterDesk if store.is_cluster else Desk)(store, *others, **settings)
