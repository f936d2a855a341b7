"""Make links until every pool of a workspace is at its target.

There is one loop per workspace at a time, since the request budget is per workspace. It looks
at levels, not at messages: it plans about a second's worth of links, makes them concurrently,
and looks again. A meeting that gets no links takes few of the turns and few of the slots.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog
from msgspec import structs

from pool.errors import LedgerUnavailable, MeetingRefused, ProviderError, StoreError
from pool.ledger import Ledger
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.locks import Held
from pool.store.records import Block, Level
from pool.supply.blame import kind_of
from pool.supply.link_maker import LinkMaker
from pool.supply.planning import Need, Plan, plan, workspace_probe
from pool.supply.pool_writer import PoolWriter
from pool.supply.targets import split, targets

log = structlog.get_logger()

RUN_SECONDS = 40.0  # under Celery's soft limit; the next sweep goes on
LOOK_SECONDS = 1.0
MOMENT_SECONDS = 0.05  # the shortest rest between two looks that find nothing to begin
PLAN_LINKS = 1_000  # at most, per look
TURN_SECONDS = 2.0  # a provider that wants more patience than this gets it from the sweep
SHARE = 2  # while others wait, a meeting takes at most one of this many slots
SUSPECT_SHARE = 4  # and all meetings that got no link lately together one of this many


class TopUp:
    """One run of the loop for one workspace."""

    def __init__(
        self,
        workspace: str,
        *,
        store: Store,
        ledger: Ledger,
        maker: LinkMaker,
        pool_writer: PoolWriter,
        provider_concurrency: int,
        probe_seconds: float,
        counted: Callable[[str, str], object],
    ) -> None:
        """Prepare a run; `counted` is called with each link's meeting and outcome."""
        self._workspace = workspace
        self._store = store
        self._ledger = ledger
        self._maker = maker
        self._pool_writer = pool_writer
        self._concurrency = provider_concurrency
        self._probe_seconds = probe_seconds
        self._count = counted
        self._plan = Plan()
        self._under_way: set[asyncio.Task[None]] = set()
        self._making: Counter[str] = Counter()  # by meeting
        self._making_for: Counter[str] = Counter()  # by pool
        self._suspects = 0  # of those under way
        # Of those under way: made, and on their way to a pool or just there.
        self._entering: set[asyncio.Task[None] | None] = set()
        self._entries = 0  # that have begun so far
        self._meetings = 0
        self._pools = 0
        self._workspace_blocks = maker.workspace_blocks
        self._block: Block | None = None  # of the workspace, whose probe this run is
        self._skipped: set[str] = set()  # pools, for the rest of this run
        self._stop = False
        self._look_again = False
        self.added = 0

    async def run(self, lock: Held) -> bool:
        """Make links until nothing is wanted, time is up, or the provider wants a rest.

        Return True if time was up while more was wanted.
        """
        started = time.monotonic()
        looked_at = -LOOK_SECONDS
        interval = LOOK_SECONDS
        try:
            while not self._stop and time.monotonic() - started < RUN_SECONDS:
                if self._is_look_due(looked_at, interval):
                    self._look_again = False
                    looked_at = time.monotonic()
                    planned = await self._look()
                    planned.follow(self._plan)
                    self._plan = planned
                    # Looking at very many meetings takes long, and must not take most of the time.
                    interval = max(LOOK_SECONDS, 5 * (time.monotonic() - looked_at))
                    if not await lock.extend():
                        break
                need = (
                    self._plan.next(self._may_start) if len(self._under_way) < self._slots else None
                )
                if need is None:
                    if self._under_way:
                        await self._wait_for_one(until=looked_at + interval)
                    elif not self._look_again:
                        break
                elif not await self._maker.wait_turn(within_seconds=TURN_SECONDS):
                    break
                elif not need.probe or await self._take_probe(need):
                    self._start(need)
        finally:
            if self._under_way:
                await asyncio.gather(*self._under_way, return_exceptions=True)
        if self.added:
            log.info("topped up", workspace=self._workspace, links=self.added)
        return bool(self._plan) and time.monotonic() - started >= RUN_SECONDS

    @property
    def _slots(self) -> int:
        """Return how many links may be under way: one while the ledger has to prove itself."""
        careful = self._maker.patience.is_careful
        return 1 if careful else self._concurrency

    # -- looking -------------------------------------------------------------------

    def _is_look_due(self, looked_at: float, interval: float) -> bool:
        return not self._plan or self._look_again or time.monotonic() - looked_at >= interval

    async def _look(self) -> Plan:
        if await self._workspace_rests():
            return Plan()
        meetings = {
            meeting.sid: meeting
            for meeting in await self._ledger.meetings.all()
            if meeting.workspace == self._workspace
        }
        served = [meeting for meeting in meetings.values() if not meeting.is_stopped]
        self._meetings = len(served)
        self._pools = sum(meeting.shards for meeting in served)
        # Copied before the levels are read: a link that enters meanwhile is then counted twice,
        # which is better than not at all.
        making, making_for = self._making.copy(), self._making_for.copy()
        entering, entries = bool(self._entering), self._entries
        looked = await self._store.look_at([meetings[sid] for sid in sorted(meetings)])
        levels = looked.meetings
        totals = await targets(self._store, meetings, levels)
        wanted: dict[str, int] = {}
        needs: list[Need] = []
        for level, parts in zip(levels, looked.parts, strict=True):
            meeting = meetings[level.sid]
            wanted |= split(totals[level.sid], parts)
            for part in parts:
                # The provider's answer about the meeting concerns each of its pools.
                pool = structs.replace(part, block=level.block) if len(parts) > 1 else part
                under_way = making[level.sid] if pool.block else making_for[pool.sid]
                need = self._need(meeting, pool, wanted[pool.sid], under_way)
                if need is not None:
                    needs.append(need)
                    if need.probe:
                        break  # one probe finds out for all of them
        await self._store.published.set_targets(
            {
                level.sid: wanted[level.sid]
                for level in looked.pools
                if level.target != wanted[level.sid] and level.fence != "unreadable"
            }
        )
        if self._block is not None:
            return Plan(workspace_probe(needs, self._block))
        due = {
            level.sid: level.block.probe_at_ms
            for level in levels
            if level.block is not None
            and level.block.is_probe_due(level.now_ms, self._probe_seconds)
        }
        probes = [need for need in needs if need.probe and need.sid in due]
        probes.sort(key=lambda need: due[need.sid])
        exact = not entering and self._entries == entries
        links = plan([need for need in needs if not need.probe], PLAN_LINKS)
        found = Plan(links, probes, exact=exact)
        self._look_again |= found.unsure and not self._entering  # the next look is exact
        return found

    def _need(self, meeting: Meeting, level: Level, target: int, making: int) -> Need | None:
        if meeting.is_stopped or level.fence != "stands" or level.sid in self._skipped:
            return None
        if level.fresh + making >= target or (level.block is not None and making):
            return None
        return Need(
            sid=meeting.sid,
            shard=level.sid if meeting.shards > 1 else "",
            epoch=level.epoch,
            fresh=level.fresh + making,
            target=target,
            claims_per_second=level.claims_per_second,
            probe=level.block is not None,
        )

    async def _workspace_rests(self) -> bool:
        """Return True if the workspace is blocked and no probe is due. Take a probe that is due."""
        self._block = await self._store.blocks.of_workspace(self._workspace)
        if self._block is None:
            return False
        now_ms = await self._store.now_ms()
        every = self._probe_seconds
        if self._under_way or not self._block.is_probe_due(now_ms, every):
            return True
        taken = self._block.probed(now_ms, every)
        await self._store.blocks.put_workspace(self._workspace, taken)
        return False

    # -- making --------------------------------------------------------------------

    def _may_start(self, need: Need) -> bool:
        """Return True if a link for this meeting may be made beside those under way."""
        making, slots = self._making[need.sid], self._concurrency
        if need.probe or self._maker.troubles.is_suspect(need.sid):
            return not making and self._suspects < max(1, slots // SUSPECT_SHARE)
        return self._plan.lone or making < max(1, slots // SHARE)

    async def _take_probe(self, need: Need) -> bool:
        """Put off the next probe of a blocked meeting.

        Return False if another process has taken this one.
        """
        if self._block is not None:
            return True  # this is the workspace's probe, which is taken already
        blocks, every = self._store.blocks, self._probe_seconds
        block, now_ms = await blocks.of(need.sid), await self._store.now_ms()
        if block is not None:
            if not block.is_probe_due(now_ms, every):
                return False
            await blocks.put(need.sid, block.probed(now_ms, every))
        return True

    def _start(self, need: Need) -> None:
        suspect = need.probe or self._maker.troubles.is_suspect(need.sid)
        self._making[need.sid] += 1
        self._making_for[need.pool] += 1
        self._suspects += suspect
        task = asyncio.create_task(self._make(need))
        self._under_way.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            self._making[need.sid] -= 1
            self._making_for[need.pool] -= 1
            self._suspects -= suspect
            self._entering.discard(task)
            self._look_again |= self._plan.unsure and not self._entering
            if not task.cancelled() and task.exception() is not None:
                log.error("top-up step failed", meeting=need.sid, exc_info=task.exception())
                self._leave(need.pool)

        task.add_done_callback(done)

    async def _wait_for_one(self, until: float) -> None:
        """Wait for a link to be made, or for the next look, since a request may hang."""
        seconds = max(MOMENT_SECONDS, until - time.monotonic())
        await asyncio.wait(self._under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def _make(self, need: Need) -> None:
        """Make one link: at the provider, then in the ledger, then in the pool."""
        try:
            new = await self._maker.make_now(need.sid, meetings=self._meetings, probe=need.probe)
        except ProviderError as error:
            await self._heed(need, error)
            return
        except StoreError:
            self._stop = True
            return
        except LedgerUnavailable as error:
            self._lose(need.sid, error)
            return
        self._entering.add(asyncio.current_task())
        self._entries += 1
        try:
            outcome = await self._pool_writer.put(need.sid, need.epoch, new)
        except LedgerUnavailable as error:
            self._lose(need.sid, error)
            return
        self._maker.patience.worked()
        self._count(need.sid, outcome)
        await self._maker.received(need.sid, is_new=outcome != "duplicate")
        if outcome == "duplicate" and self._maker.troubles.is_blamed(need.sid):
            self._plan.drop(need.sid)
        if outcome == "quarantined":
            self._leave(need.pool)
        if outcome != "added":
            return
        self.added += 1
        if need.probe:
            await self._store.blocks.put(need.sid, None)
            self._look_again = True
        await self._lift_workspace()

    def _lose(self, sid: str, error: LedgerUnavailable) -> None:
        """Count a link that could not be written to the ledger, and make no more for a while."""
        log.warning("link lost: the ledger is away", meeting=sid, reason=str(error))
        self._count(sid, "lost")
        if not self._stop:
            self._maker.patience.failed()
        self._stop = True

    async def _heed(self, need: Need, error: ProviderError) -> None:
        """Adjust the plan to a failure. It was counted, and a block was set, where it happened."""
        if self._maker.troubles.is_blamed(need.sid):
            self._plan.drop(need.sid)
        if self._maker.workspace_blocks != self._workspace_blocks:
            self._workspace_blocks = self._maker.workspace_blocks
            self._look_again = True
        elif (
            isinstance(error, MeetingRefused)
            and self._block is not None
            and kind_of(error) != self._block.kind
        ):
            # The provider accepts the key again, but has another problem than before.
            await self._lift_workspace()

    async def _lift_workspace(self) -> None:
        if self._block is not None:
            self._block = None
            self._look_again = True
            await self._store.blocks.put_workspace(self._workspace, None)

    def _leave(self, pool: str) -> None:
        """Make no more links for this pool in this run, since they do not enter it.

        End the run if a second meeting has such a pool, or if half of all pools are such: the links
        of the others may not enter, either.
        """
        self._skipped.add(pool)
        self._plan.drop_pool(pool)
        meetings = {sid_of(each) for each in self._skipped}
        only_one = self._meetings == 1 and 2 * len(self._skipped) >= self._pools
        self._stop |= len(meetings) > 1 or only_one
