"""Write a link that was just made to the ledger first, then add it to the pool.

Links that arrive while a write is under way share the next one: a database that syncs at
each commit would otherwise limit top-up to some hundred links a second.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import structlog

from pool.errors import Fenced, StoreError
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.pools import pool_of_epoch
from pool.providers import NewLink
from pool.store import Store
from pool.supply.link_maker import LinkMaker

log = structlog.get_logger()

LINKS_PER_CALL = 500
Pooled = Literal["added", "duplicate", "quarantined"]


class PoolWriter:
    """Puts links into the ledger and the pool, for one event loop."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._waiting: list[tuple[Link, asyncio.Future[Pooled]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, sid: str, epoch: str, new: NewLink) -> Pooled:
        """Put one link of a meeting into the ledger, then into the pool of that epoch.

        Return the outcome: added, duplicate (the ledger knew the link) or quarantined.

        A crash between the two leaves a fresh row whose link is in no pool, which `expire` sets
        aside. Raise LedgerUnavailable if the link is lost: without a row it may not be pooled.
        """
        link = Link(
            slug=new.slug,
            url=new.url,
            meeting_sid=sid,
            state=State.FRESH,
            source="pool",
            epoch=epoch,
            created_at=datetime.now(UTC),
        )
        outcome: asyncio.Future[Pooled] = asyncio.get_running_loop().create_future()
        self._waiting.append((link, outcome))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await outcome

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[:LINKS_PER_CALL],
                    self._waiting[LINKS_PER_CALL:],
                )
                try:
                    outcomes = await self._put_all([link for link, _ in batch])
                except Exception as error:  # noqa: BLE001 - it is raised to every waiting caller
                    for _, outcome in batch:
                        if not outcome.done():
                            outcome.set_exception(error)
                else:
                    for (_, outcome), pooled in zip(batch, outcomes, strict=True):
                        if not outcome.done():
                            outcome.set_result(pooled)
        finally:
            self._writing = None

    async def _put_all(self, links: list[Link]) -> list[Pooled]:
        inserted = await self._ledger.links.insert_fresh(links)
        outcomes: list[Pooled] = []
        pools: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, link in enumerate(links):
            # If a slug appears twice in this batch, the second is a repeat, too.
            is_new = link.slug in inserted
            inserted.discard(link.slug)
            outcomes.append("added" if is_new else "duplicate")
            if is_new:
                pools[link.meeting_sid, link.epoch].append(place)
        for (sid, epoch), places in pools.items():
            pool = pool_of_epoch(sid, epoch)
            slugs = [links[place].slug for place in places]
            made_at = links[places[0]].created_at
            try:
                await self._store.add(pool, epoch, slugs, round(made_at.timestamp() * 1000))
            except StoreError as error:
                # The outcome is in doubt, or the pool has a new epoch by now. The links are set
                # aside and never added again, and they are taken out of the pool, since they may
                # have entered it. `expire` finds those that stay in.
                log.warning("links not pooled", meeting=sid, links=len(slugs), reason=str(error))
                await self._ledger.links.move(slugs, State.QUARANTINED, at=made_at)
                with suppress(StoreError):
                    await self._store.stock.withdraw(pool, slugs)
                for place in places:
                    outcomes[place] = "quarantined"
        return outcomes


async def make_and_pool(
    maker: LinkMaker,
    store: Store,
    ledger: Ledger,
    sid: str,
    *,
    pools: Sequence[str] = (),
    probe: bool = False,
) -> Pooled:
    """Make one link out of turn and pool it. Return the outcome.

    `pools` are those of a meeting that is spread over shards: the emptiest one gets the link.
    `probe`: the meeting may be blocked, and this finds out whether it still has to be.
    Raise ProviderError, Fenced or LedgerUnavailable.
    """
    level = min(await store.look(pools or [sid]), key=lambda each: each.fresh)
    if level.fence != "stands":
        raise Fenced(sid)
    await ledger.ping()
    new = await maker.make_now(sid, probe=probe)
    return await PoolWriter(store, ledger).put(sid, level.epoch, new)
