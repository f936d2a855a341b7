"""Make one link outside of top-up, and write its row to the ledger before anybody sees it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from pool.errors import Fenced, LedgerUnavailable, PoolEmpty, ProviderError
from pool.ledger import Ledger
from pool.model.links import Link, State
from pool.model.meetings import Meeting
from pool.store import Store
from pool.supply.link_maker import LinkMaker

# Before a link is made, the ledger is asked whether it can write, unless it has just done so.
LEDGER_TRUST_SECONDS = 1.0


class SpotLinks:
    """Makes links one at a time, within the same budget as top-up."""

    def __init__(self, store: Store, ledger: Ledger, makers: Mapping[str, LinkMaker]) -> None:
        self._store = store
        self._ledger = ledger
        self._makers = makers
        self._ledger_wrote_at = -LEDGER_TRUST_SECONDS

    async def make(self, meeting: Meeting, pool: str, *, ends: float) -> Link:
        """Return a new link for a pool of the meeting, which is in the ledger and in no pool yet.

        `ends` is when the caller gives up, by the monotonic clock. Raise PoolEmpty, Fenced,
        StoreUnavailable or LedgerUnavailable.
        """
        maker = self._makers.get(meeting.workspace)
        if maker is None:
            raise empty(meeting, "the pool is empty and its workspace is not configured")
        level = (await self._store.look([pool]))[0]
        if level.fence != "stands":
            raise Fenced(pool)
        block = level.block
        if pool != meeting.sid:  # what the provider says of the meeting stands under its SID
            block = await self._store.blocks.of(meeting.sid)
        if block or await self._store.blocks.of_workspace(meeting.workspace):
            raise empty(meeting, "the pool is empty and the provider refuses links", seconds=30)
        await self._check_ledger()
        try:
            # A turn that comes too late for its call to return is wasted for everybody: with a
            # crowd at an empty pool, top-up would never get a turn, and the unused rate would
            # not grow.
            within_seconds = (ends - time.monotonic()) / 2
            new = await maker.make(meeting.sid, within_seconds=within_seconds)
        except ProviderError:
            raise empty(meeting, "the pool is empty and the provider gave no link") from None
        if new is None:
            raise empty(meeting, "the pool is empty and the provider's budget is used up")
        link = Link(
            slug=new.slug,
            url=new.url,
            meeting_sid=meeting.sid,
            state=State.FRESH,
            source="direct",
            epoch=level.epoch,
            created_at=datetime.now(UTC),
        )
        # The row is written first: a slug that the provider repeats is refused here.
        try:
            is_new = bool(await self._ledger.links.insert_fresh([link]))
        except LedgerUnavailable:
            self._ledger_wrote_at = -LEDGER_TRUST_SECONDS
            raise
        self._ledger_wrote_at = time.monotonic()
        await maker.received(meeting.sid, is_new=is_new)
        if not is_new:
            raise empty(meeting, "the provider repeated a link")
        return link

    async def _check_ledger(self) -> None:
        """Raise LedgerUnavailable if a link that is made now could not be written down."""
        if time.monotonic() - self._ledger_wrote_at >= LEDGER_TRUST_SECONDS:
            await self._ledger.ping()
            self._ledger_wrote_at = time.monotonic()


def empty(meeting: Meeting, problem: str, *, seconds: int = 2) -> PoolEmpty:
    """Return the error of an empty pool. A small spread keeps returning visitors apart."""
    return PoolEmpty(
        problem,
        retry_after_seconds=seconds + secrets.randbelow(2),
        fallback_url=meeting.fallback_url,
    )
