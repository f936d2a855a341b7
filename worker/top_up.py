"""Task `top_up`: makes links until every pool of a workspace is at its target.

One loop per workspace at a time, since the request budget is per workspace. It looks at
levels, not at messages: it plans about a second's worth of links, the meeting that runs
dry first coming first, makes them concurrently, and looks again.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter, deque
from dataclasses import dataclass, replace

import structlog

from pool.compose import Parts
from pool.errors import (
    LedgerUnavailable,
    MeetingRefused,
    ProviderError,
    StoreError,
    WorkspaceRefused,
)
from pool.making import LinkMaker
from pool.meetings import Meeting
from pool.pooling import Pooling
from pool.store import keys
from pool.store.locks import Held
from pool.store.records import Level
from pool.targets import targets

log = structlog.get_logger()

RUN_SECONDS = 40.0  # under Celery's soft limit; the next sweep goes on
LOOK_SECONDS = 1.0
PLAN_LINKS = 1_000  # at most, per look
TURN_SECONDS = 2.0  # a provider that wants more patience than this gets it from the sweep


@dataclass(frozen=True, slots=True)
class Need:
    """One meeting that is below its target."""

    sid: str
    epoch: str
    fresh: int  # with those being made
    target: int
    claims_per_second: float
    probe: bool = False  # it is blocked, and one request may find out whether it still is

    @property
    def urgency(self) -> tuple[float, float]:
        """Smaller is more urgent: runway first, then how empty the pool is."""
        runway = self.fresh / self.claims_per_second if self.claims_per_second > 0 else 1e12
        return runway, self.fresh / self.target


def plan(needs: list[Need], links: int) -> list[Need]:
    """Whom to make the next links for, one entry per link, most urgent first."""
    heap = [(need.urgency, need.sid, need) for need in needs if need.fresh < need.target]
    heapq.heapify(heap)
    planned: list[Need] = []
    while heap and len(planned) < links:
        _, _, need = heapq.heappop(heap)
        planned.append(need)
        filled = replace(need, fresh=need.fresh + 1)
        if filled.fresh < filled.target and not need.probe:
            heapq.heappush(heap, (filled.urgency, filled.sid, filled))
    return planned


async def top_up(parts: Parts, workspace: str) -> bool:
    """Tops up all pools of a workspace, if nobody else is at it; whether there is more to do."""
    maker = parts.makers.get(workspace)
    if maker is None:
        log.error("workspace is not configured", workspace=workspace)
        return False
    await parts.ledger.ping()  # without it no link may be pooled, so none should be made
    async with parts.store.locks.held(keys.top_up_lock(workspace)) as lock:
        return lock is not None and await TopUp(parts, workspace, maker).run(lock)


class TopUp:
    """One run of the loop."""

    def __init__(self, parts: Parts, workspace: str, maker: LinkMaker) -> None:
        self._parts = parts
        self._workspace = workspace
        self._maker = maker
        self._pooling = Pooling(parts.store, parts.ledger)
        self._under_way: set[asyncio.Task[None]] = set()
        self._making: Counter[str] = Counter()
        self._blocked = False  # the workspace is, and this run is its probe
        self._stop = False
        self._refused = False  # what is planned may be blocked by now
        self.added = 0

    async def run(self, lock: Held) -> bool:
        """Makes links until nothing is wanted, time is up, or the provider wants a rest.

        True if time was up while more was wanted.
        """
        started = time.monotonic()
        planned: deque[Need] = deque()
        looked_at = -LOOK_SECONDS
        interval = LOOK_SECONDS
        try:
            while not self._stop and time.monotonic() - started < RUN_SECONDS:
                if not planned or self._refused or time.monotonic() - looked_at >= interval:
                    self._refused = False
                    looked_at = time.monotonic()
                    planned = deque(await self._look())
                    # Looking at very many meetings takes its time; it must not become the work.
                    interval = max(LOOK_SECONDS, 5 * (time.monotonic() - looked_at))
                    if not await lock.extend():
                        break
                if not planned:
                    if not self._under_way:
                        break
                    await self._wait_for_one()
                    continue
                if len(self._under_way) >= self._parts.settings.provider_concurrency:
                    await self._wait_for_one()
                    continue
                if not await self._maker.wait_turn(within_seconds=TURN_SECONDS):
                    break
                self._start(planned.popleft())
        finally:
            if self._under_way:
                await asyncio.gather(*self._under_way, return_exceptions=True)
        if self.added:
            log.info("topped up", workspace=self._workspace, links=self.added)
        return bool(planned) and time.monotonic() - started >= RUN_SECONDS

    # -- looking -------------------------------------------------------------------

    async def _look(self) -> list[Need]:
        if await self._workspace_rests():
            return []
        meetings = {
            meeting.sid: meeting
            for meeting in await self._parts.ledger.meetings.all()
            if meeting.workspace == self._workspace
        }
        needs = []
        # Before the levels: a link that enters meanwhile is then counted twice, not never.
        making = self._making.copy()
        levels = await self._parts.store.look(sorted(meetings))
        wanted = await targets(self._parts.store, meetings, levels)
        for level in levels:
            target = wanted[level.sid]
            need = await self._need(meetings[level.sid], level, target, making[level.sid])
            if need is not None:
                needs.append(need)
        await self._parts.store.published.set_targets(
            {level.sid: wanted[level.sid] for level in levels if level.target != wanted[level.sid]}
        )
        return plan(needs, 1 if self._blocked else PLAN_LINKS)

    async def _need(self, meeting: Meeting, level: Level, target: int, making: int) -> Need | None:
        if meeting.paused or level.fence != "stands":
            return None
        if level.block is not None:
            every = self._parts.settings.probe_seconds
            if making or not level.block.is_probe_due(level.now_ms, every):
                return None
            await self._parts.store.blocks.put(level.sid, level.block.put_off(level.now_ms, every))
        return Need(
            sid=level.sid,
            epoch=level.epoch,
            fresh=level.fresh + making,
            target=target,
            claims_per_second=level.claims_per_second,
            probe=level.block is not None,
        )

    async def _workspace_rests(self) -> bool:
        """Whether the workspace is blocked and no probe is due; a due probe is taken."""
        block = await self._parts.store.blocks.of_workspace(self._workspace)
        self._blocked = block is not None
        if block is None:
            return False
        now_ms = await self._parts.store.now_ms()
        every = self._parts.settings.probe_seconds
        if self._under_way or not block.is_probe_due(now_ms, every):
            return True
        await self._parts.store.blocks.put_workspace(self._workspace, block.put_off(now_ms, every))
        return False

    # -- making --------------------------------------------------------------------

    def _start(self, need: Need) -> None:
        self._making[need.sid] += 1
        task = asyncio.create_task(self._make(need))
        self._under_way.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            self._making[need.sid] -= 1
            if not task.cancelled() and task.exception() is not None:
                log.error("top-up step failed", meeting=need.sid, exc_info=task.exception())
                self._stop = True

        task.add_done_callback(done)

    async def _wait_for_one(self) -> None:
        await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _make(self, need: Need) -> None:
        """One link: at the provider, then in the ledger, then in the pool."""
        try:
            new = await self._maker.make_now(need.sid)
        except ProviderError as error:
            # Counted, and heeded, where it happened; a block counts from the next request on.
            self._refused |= isinstance(error, WorkspaceRefused | MeetingRefused)
            return
        except StoreError:
            self._stop = True
            return
        try:
            outcome = await self._pooling.put(need.sid, need.epoch, new)
        except LedgerUnavailable as error:
            log.warning("link lost: the ledger is away", meeting=need.sid, reason=str(error))
            self._count(need.sid, "lost")
            self._stop = True
            return
        self._count(need.sid, outcome)
        await self._maker.received(need.sid, is_new=outcome != "duplicate")
        self._refused |= outcome == "duplicate"  # it may be blocked by now
        if outcome == "quarantined":
            self._stop = True
        if outcome != "added":
            return
        self.added += 1
        if need.probe:
            await self._parts.store.blocks.put(need.sid, None)
        if self._blocked:
            await self._parts.store.blocks.put_workspace(self._workspace, None)
            self._blocked = False

    def _count(self, sid: str, outcome: str) -> None:
        self._parts.metrics.topup_links.labels(sid, outcome).inc()
