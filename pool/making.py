"""Making one link at the provider, within the workspace's budget, and learning from it.

Used by top-up and by the direct path: what one of them learns about the provider's limits
and refusals, the other heeds at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from pool.errors import (
    MeetingRefused,
    ProviderError,
    Throttled,
    WorkspaceRefused,
)
from pool.providers import NewLink, Provider
from pool.store import Store
from pool.store.records import Block

log = structlog.get_logger()

# So many failures in a row are no bad luck any more: the provider is down, or its answers
# will never do (a wrong link base, say). From then on it is probed.
FAILURES_TO_BLOCK = 8


class LinkMaker:
    """Makes links of one workspace."""

    def __init__(
        self,
        workspace: str,
        provider: Provider,
        store: Store,
        *,
        first_rate: float,
        probe_seconds: float,
        counted: Callable[[str, str], None],
    ) -> None:
        self.workspace = workspace
        self.provider = provider
        self._store = store
        self._first_rate = first_rate
        self._probe_seconds = probe_seconds
        self._counted = counted
        self._failures = 0  # in a row
        self._repeats: Counter[str] = Counter()  # of each meeting, in a row

    async def wait_turn(self, *, within_seconds: float) -> bool:
        """Sleeps until the budget allows one more request; False if not within that time."""
        wait = await self._store.budget.take(
            self.workspace, first_rate=self._first_rate, within_seconds=within_seconds
        )
        if wait is None:
            return False
        if wait:
            await asyncio.sleep(wait)
        return True

    async def make(self, sid: str, *, within_seconds: float) -> NewLink | None:
        """A new link, or None if the budget allows none within that time.

        Raises ProviderError after having told the budget and set a block where due.
        """
        if not await self.wait_turn(within_seconds=within_seconds):
            return None
        return await self.make_now(sid)

    async def make_now(self, sid: str) -> NewLink:
        """A new link, for whoever has waited their turn. Raises ProviderError."""
        try:
            link = await self.provider.create_link(sid)
        except ProviderError as error:
            self._counted(sid, error.outcome)
            if error.maybe_made:
                self._counted(sid, "lost")
            await self._learn(sid, error)
            raise
        self._failures = 0
        await self._store.budget.report(self.workspace, "ok", first_rate=self._first_rate)
        return link

    async def received(self, sid: str, *, is_new: bool) -> None:
        """Whether the ledger took the link that was made: a provider that does nothing but
        repeat itself is probed, not hammered."""
        self._repeats[sid] = 0 if is_new else self._repeats[sid] + 1
        if self._repeats[sid] >= FAILURES_TO_BLOCK:
            reason = "the provider gives links that it gave before"
            log.error("meeting blocked", meeting=sid, reason=reason)
            await self._store.blocks.put(sid, await self._block(reason))

    async def _block(self, reason: str) -> Block:
        now_ms = await self._store.now_ms()
        return Block(reason, now_ms, now_ms).put_off(now_ms, self._probe_seconds)

    async def _learn(self, sid: str, error: ProviderError) -> None:
        if isinstance(error, Throttled):
            await self._store.budget.report(
                self.workspace,
                "throttled",
                first_rate=self._first_rate,
                retry_after_seconds=error.retry_after_seconds,
            )
            return
        block = await self._block(str(error))
        if isinstance(error, WorkspaceRefused):
            log.error("workspace blocked", workspace=self.workspace, reason=str(error))
            await self._store.blocks.put_workspace(self.workspace, block)
        elif isinstance(error, MeetingRefused):
            log.error("meeting blocked", meeting=sid, reason=str(error))
            await self._store.blocks.put(sid, block)
        else:
            self._failures += 1
            await self._store.budget.report(self.workspace, "failed", first_rate=self._first_rate)
            if self._failures >= FAILURES_TO_BLOCK:
                log.error("workspace blocked", workspace=self.workspace, reason=str(error))
                await self._store.blocks.put_workspace(self.workspace, block)
