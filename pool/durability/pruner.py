"""Prune links that ended long ago from ledger and Redis, some at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from pool.ledger import Ledger
from pool.ledger.pruning import BATCH_LINKS, OldLink, Place, PrunedLinks
from pool.model.meetings import Meeting
from pool.store import Store

_CALLS_AT_ONCE = 16  # to Redis


class Pruner:
    """Deletes old links and their bookings. Running twice at once does no harm."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def run(
        self,
        before: datetime,
        *,
        seconds: float = float("inf"),
        rest: float = 0.0,
        batch_links: int = BATCH_LINKS,
        progress: Callable[[PrunedLinks], None] = lambda _: None,
    ) -> PrunedLinks:
        """Prune links that ended before a time, the oldest first. Return what was deleted.

        It works in batches, for about `seconds` at most, and pauses after each for `rest` times
        as long as the batch took. `progress` is called after each with what was deleted so far.
        Raise StoreUnavailable or LedgerUnavailable; what was done stays done.
        """
        done, until = PrunedLinks(), time.monotonic() + seconds
        for walk in await self._ledger.pruning.walks():
            place: Place | None = None
            while time.monotonic() < until:
                began = time.monotonic()
                found = await self._ledger.pruning.look(walk, before, place, batch_links)
                pruned = await self._prune(found, before)
                done += pruned
                progress(done)
                if len(found) < batch_links:
                    break
                place = Place(found[-1].at, passed=not pruned.links)
                await asyncio.sleep(rest * (time.monotonic() - began))
        return done

    async def _prune(self, found: Sequence[OldLink], before: datetime) -> PrunedLinks:
        ripe = {link.slug: link for link in found if link.ripe}
        if not ripe:
            return PrunedLinks()
        await self._drop_bindings(list(ripe.values()))
        return await self._ledger.pruning.prune(list(ripe), before)

    async def _drop_bindings(self, links: Sequence[OldLink]) -> None:
        """Drop the bindings of consumed links, which Redis would keep for good.

        Redis comes first: a customer whose binding is gone and whose link is still in the ledger
        may claim anew, and has one live link all the same, since this one is used. A binding
        without a row would stay for good.
        """
        calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        bound = [
            (link.meeting_sid, link.slug, link.customer_id)
            for link in links
            if link.is_consumed and link.customer_id is not None
        ]
        if not bound:
            return
        meetings = {meeting.sid: meeting for meeting in await self._ledger.meetings.all()}

        async def drop(sid: str, slug: str, customer_id: str) -> None:
            name = self._store.names.name(sid, customer_id)
            pool = meetings.get(sid, Meeting(sid)).pool_of(name)
            async with calls:
                await self._store.erasing.drop(pool, slug, name)

        await asyncio.gather(*(drop(*each) for each in bound))
