"""Make a link on the spot when the pool is empty, or say when to come back.

One link is made per customer however many requests wait for it, and a few at a time, within
`direct_timeout` and within the same budget as top-up.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from pool.errors import Fenced, LedgerUnavailable, PoolEmpty, PoolPaused, ProviderError
from pool.ledger import Ledger
from pool.model.links import Claim, Link, State
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import Outcome
from pool.supply.link_maker import LinkMaker

log = structlog.get_logger()

# Before a link is made, the ledger is asked whether it can write, unless it has just done so.
LEDGER_TRUST_SECONDS = 1.0
AT_ONCE = 4  # links under way per process; a crowd at an empty pool must not storm the provider


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
        self._ledger = ledger
        self._makers = makers
        self._timeout = timeout_seconds
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ledger_wrote_at = -LEDGER_TRUST_SECONDS
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
        except ProviderError:
            raise empty(meeting, "the pool is empty and the provider gave no link") from None
        except LedgerUnavailable:
            # No link without a row: without the ledger a repeated slug could not be refused.
            raise empty(meeting, "the pool is empty and the ledger is away") from None

    async def _steps(
        self, meeting: Meeting, name: str, payload: bytes, ends: float
    ) -> tuple[Claim, bool]:
        maker = self._makers.get(meeting.workspace)
        if maker is None:
            raise empty(meeting, "the pool is empty and its workspace is not configured")
        level = (await self._store.look([meeting.sid]))[0]
        if level.fence != "stands":
            raise Fenced(meeting.sid)
        if level.block or await self._store.blocks.of_workspace(meeting.workspace):
            raise empty(meeting, "the pool is empty and the provider refuses links", seconds=30)
        await self._check_ledger()
        # A turn that comes too late for its call to return is wasted for everybody: with a crowd
        # at an empty pool, top-up would never get a turn, and the unused rate would not grow.
        new = await maker.make(meeting.sid, within_seconds=(ends - time.monotonic()) / 2)
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
        answer = await self._store.bind(meeting.sid, level.epoch, new.slug, name, payload)
        if answer.outcome is Outcome.PAUSED:
            raise PoolPaused("claims of this meeting are paused", retry_after_seconds=30)
        if answer.claim is None:
            raise empty(meeting, "the pool is empty")
        return answer.claim, answer.outcome is Outcome.NEW

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
