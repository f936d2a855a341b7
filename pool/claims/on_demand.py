"""Make a link on the spot when the pool is empty, or say when to come back.

One link is made per customer however many requests wait for it, and a few at a time, within
`direct_timeout` and within the same budget as top-up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from pool.claims.spot_links import SpotLinks, empty
from pool.errors import LedgerUnavailable, PoolPaused
from pool.ledger import Ledger
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Outcome
from pool.supply.link_maker import LinkMaker

AT_ONCE = 4  # links under way per process; a crowd at an empty pool must not flood the provider


class OnDemandLinks:
    """Makes links for visitors who found the pool empty."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        makers: Mapping[str, LinkMaker],
        *,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._links = SpotLinks(store, ledger, makers)
        self._timeout = timeout_seconds
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[tuple[str, str], asyncio.Task[tuple[Claim, bool]]] = {}

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        """Return a claim, and True if it was bound now and not by another request meanwhile.

        Raise PoolEmpty, PoolPaused, Fenced or StoreUnavailable.
        """
        if meeting.on_empty == "fail":
            raise empty(meeting, "the pool is empty")
        key = (meeting.sid, name)
        task = self._under_way.get(key)
        first = task is None
        if task is None:
            task = asyncio.create_task(self._make(meeting, name, payload))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        claim, made = await asyncio.shield(task)
        return claim, made and first

    async def _make(self, meeting: Meeting, name: str, payload: bytes) -> tuple[Claim, bool]:
        ends = time.monotonic() + self._timeout
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                return await self._steps(meeting, name, payload, ends)
        except TimeoutError:
            raise empty(meeting, "the pool is empty and the provider is slow") from None
        except LedgerUnavailable:
            # No link without a row: without the ledger a repeated slug could not be refused.
            raise empty(meeting, "the pool is empty and the ledger is away") from None

    async def _steps(
        self, meeting: Meeting, name: str, payload: bytes, ends: float
    ) -> tuple[Claim, bool]:
        pool = meeting.pool_of(name)
        link = await self._links.make(meeting, pool, ends=ends)
        answer = await self._store.bind(pool, link.epoch, link.slug, name, payload)
        if answer.outcome is Outcome.PAUSED:
            raise PoolPaused("claims of this meeting are paused", retry_after_seconds=30)
        if answer.claim is None:
            raise empty(meeting, "the pool is empty")
        return answer.claim, answer.outcome is Outcome.NEW


class NoLinksOnDemand:
    """Makes no link: what claims with a public key get once the pool has none to spare."""

    async def make_and_bind(
        self, meeting: Meeting, _name: str, _payload: bytes
    ) -> tuple[Claim, bool]:
        """Raise PoolEmpty."""
        raise empty(meeting, "the pool has no link to spare for claims with a public key")
