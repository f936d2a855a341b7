"""Make one link at the provider, within the workspace's budget, and learn from the answer.

Top-up and links made on demand both use this: when one learns of a limit or a refusal, the other
respects it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from pool.errors import MeetingRefused, ProviderError, Throttled, WorkspaceRefused
from pool.providers import NewLink, Provider
from pool.store import Store
from pool.store.records import Block
from pool.supply.blame import Blame, Troubles, kind_of
from pool.supply.link_bases import LinkBases

log = structlog.get_logger()


class Patience:
    """A rest after links that could not be written to the ledger, longer each time."""

    LONGEST_SECONDS = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    def failed(self) -> None:
        """Note that a link was lost because the ledger did not take it."""
        self._failures += 1
        self._until = self._clock() + min(self.LONGEST_SECONDS, 2.0**self._failures)

    def worked(self) -> None:
        """Note that the ledger took a link."""
        self._failures = 0

    @property
    def rests(self) -> bool:
        """Return True if it is too early to try again."""
        return bool(self._failures) and self._clock() < self._until

    @property
    def is_careful(self) -> bool:
        """Return True if a single link must first show that the ledger takes them again."""
        return bool(self._failures)


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
        bases: LinkBases | None = None,
    ) -> None:
        self.workspace = workspace
        self.provider = provider
        self.troubles = Troubles()
        self.patience = Patience()
        self.workspace_blocks = 0  # how often this process has blocked the workspace
        self._store = store
        self._first_rate = first_rate
        self._probe_seconds = probe_seconds
        self.counted = counted
        self._bases = bases

    async def wait_turn(self, *, within_seconds: float) -> bool:
        """Sleep until the budget allows one more request.

        Return False at once if it will not do so within that time.
        """
        wait = await self._store.budget.take(
            self.workspace, first_rate=self._first_rate, within_seconds=within_seconds
        )
        if wait is None:
            return False
        if wait:
            await asyncio.sleep(wait)
        return True

    async def make(self, sid: str, *, within_seconds: float) -> NewLink | None:
        """Return a new link, or None if the budget allows none within that time.

        Raise ProviderError after reporting to the budget and setting a block where due.
        """
        if not await self.wait_turn(within_seconds=within_seconds):
            return None
        return await self.make_now(sid)

    async def make_now(
        self, sid: str, *, meetings: int | None = None, probe: bool = False
    ) -> NewLink:
        """Return a new link, for a caller that has waited for its turn. Raise ProviderError.

        A caller that makes links for all meetings of the workspace passes their number as
        `meetings`: the workspace may then be blocked for what several of them meet. `probe` means
        that the meeting is blocked, and this request finds out whether that is still necessary.
        """
        seen = self.troubles.seen
        try:
            link = await self.provider.create_link(sid)
            if self._bases is not None:
                await self._bases.check(self.workspace, link.url, link.slug)
        except ProviderError as error:
            self.counted(sid, error.outcome)
            if error.maybe_made:
                self.counted(sid, "lost")
            await self._learn(sid, error, meetings, probe, seen)
            raise
        await self._store.budget.report(self.workspace, "ok", first_rate=self._first_rate)
        return link

    async def received(self, sid: str, *, is_new: bool) -> None:
        """Note whether the ledger took the link that was made as a new one.

        A provider that only repeats links is probed, not hammered.
        """
        if is_new:
            self.troubles.worked(sid)
            return
        blame = self.troubles.failed(sid, "repeated", final=False, meetings=None)
        if blame is Blame.MEETING:
            await self._block_meeting(
                sid, "the provider gives links that it gave before", "repeated"
            )

    async def _block(self, reason: str, kind: str) -> Block:
        now_ms = await self._store.now_ms()
        return Block(reason, now_ms, now_ms, kind).put_off(now_ms, self._probe_seconds)

    async def _block_meeting(self, sid: str, reason: str, kind: str) -> None:
        log.error("meeting blocked", meeting=sid, reason=reason)
        await self._store.blocks.put(sid, await self._block(reason, kind))

    async def _block_workspace(self, reason: str, kind: str) -> None:
        log.error("workspace blocked", workspace=self.workspace, reason=reason)
        self.workspace_blocks += 1
        await self._store.blocks.put_workspace(self.workspace, await self._block(reason, kind))

    async def _learn(
        self, sid: str, error: ProviderError, meetings: int | None, probe: bool, seen: int
    ) -> None:
        kind, reason = kind_of(error), str(error)
        if isinstance(error, WorkspaceRefused):
            await self._block_workspace(reason, kind)
            return
        if isinstance(error, Throttled):
            blame = self.troubles.throttled(sid)
            if blame is Blame.MEETING:
                # The pace is not at fault, so the others keep theirs.
                await self._block_meeting(sid, f"{reason}, for this meeting alone", kind)
            else:
                await self._store.budget.report(
                    self.workspace,
                    "throttled",
                    first_rate=self._first_rate,
                    retry_after_seconds=error.retry_after_seconds,
                )
            return
        refused = isinstance(error, MeetingRefused)
        blame = self.troubles.failed(
            sid, kind, final=refused, meetings=meetings, probe=probe, seen=seen
        )
        if not refused and not self.troubles.is_own(sid):
            # Failures in a row pause the budget; those of one meeting alone block that meeting.
            await self._store.budget.report(self.workspace, "failed", first_rate=self._first_rate)
        if blame is Blame.WORKSPACE:
            await self._block_workspace(f"{reason} (so for several meetings)", kind)
        elif blame is Blame.MEETING:
            await self._block_meeting(sid, reason, kind)
