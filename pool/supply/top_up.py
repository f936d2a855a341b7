"""Make links until every pool of a workspace is at its target.

There is one loop per workspace at a time, since the request budget is per workspace. It looks
at levels, not at messages: it plans about a second's worth of links, makes them concurrently,
and looks again. A meeting that gets no links takes few of the turns and few of the slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from msgspec import structs

from pool.errors import LedgerUnavailable, MeetingRefused, ProviderError, StoreError
from pool.ledger import Ledger
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.locks import Held
from pool.supply.blame import kind_of
from pool.supply.link_maker import LinkMaker
from pool.supply.planning import Need, Plan, need_of, plan, workspace_probe
from pool.supply.pool_writer import PoolWriter
from pool.supply.probing import Probing
from pool.supply.targets import split, targets
from pool.supply.under_way import UnderWay

log = structlog.get_logger()

RUN_SECONDS = 40.0  # under Celery's soft limit; the next sweep goes on
LOOK_SECONDS = 1.0
PLAN_LINKS = 1_000  # at most, per look
TURN_SECONDS = 2.0  # a provider that wants more patience than this gets it from the sweep


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
        self._count = counted
        self.under_way = UnderWay(provider_concurrency, maker.troubles.is_suspect)
        self.probing = Probing(workspace, store, probe_seconds)
        self.plan = Plan()
        self.meetings = 0  # that are served
        self._pools = 0
        self._workspace_blocks = maker.workspace_blocks
        self.skipped: set[str] = set()  # pools, for the rest of this run
        self.stops = False  # whatever is wanted
        self.looks_again = False  # before the plan is done
        self.added = 0

    async def run(self, lock: Held) -> bool:
        """Make links until nothing is wanted, time is up, or the provider wants a rest.

        Return True if time was up while more was wanted.
        """
        started = time.monotonic()
        looked_at = -LOOK_SECONDS
        interval = LOOK_SECONDS
        try:
            while not self.stops and time.monotonic() - started < RUN_SECONDS:
                if self.is_look_due(looked_at, interval):
                    self.looks_again = False
                    looked_at = time.monotonic()
                    planned = await self.look()
                    planned.follow(self.plan)
                    self.plan = planned
                    # Looking at very many meetings takes long, and must not take most of the time.
                    interval = max(LOOK_SECONDS, 5 * (time.monotonic() - looked_at))
                    if not await lock.extend():
                        break
                need = self.plan.next(self._may_start) if len(self.under_way) < self.slots else None
                if need is None:
                    if self.under_way:
                        await self.under_way.wait_for_one(until=looked_at + interval)
                    elif not self.looks_again:
                        break
                elif not await self._maker.wait_turn(within_seconds=TURN_SECONDS):
                    break
                elif not need.probe or await self.probing.take(need):
                    self.start(need)
        finally:
            await self.under_way.wait_for_all()
        if self.added:
            log.info("topped up", workspace=self._workspace, links=self.added)
        return bool(self.plan) and time.monotonic() - started >= RUN_SECONDS

    @property
    def slots(self) -> int:
        """Return how many links may be under way: one while the ledger has to prove itself."""
        return 1 if self._maker.patience.is_careful else self.under_way.slots

    def _may_start(self, need: Need) -> bool:
        return self.under_way.may_start(need, lone=self.plan.lone)

    # -- looking -------------------------------------------------------------------

    def is_look_due(self, looked_at: float, interval: float) -> bool:
        """Return True if the plan is done, no longer right, or older than the interval."""
        return not self.plan or self.looks_again or time.monotonic() - looked_at >= interval

    async def look(self) -> Plan:
        """Look at the levels of all pools. Return the plan for about the next second."""
        if await self.probing.rests(busy=bool(self.under_way)):
            return Plan()
        meetings = {
            meeting.sid: meeting
            for meeting in await self._ledger.meetings.all()
            if meeting.workspace == self._workspace
        }
        served = [meeting for meeting in meetings.values() if not meeting.is_stopped]
        self.meetings = len(served)
        self._pools = sum(meeting.shards for meeting in served)
        # Copied before the levels are read: a link that enters meanwhile is then counted twice,
        # which is better than not at all.
        making, making_for = self.under_way.by_meeting.copy(), self.under_way.by_pool.copy()
        entering, entries = self.under_way.is_any_entering, self.under_way.entries
        looked = await self._store.look_at([meetings[sid] for sid in sorted(meetings)])
        levels = looked.meetings
        totals = await targets(self._store, meetings, levels)
        wanted: dict[str, int] = {}
        needs: list[Need] = []
        for level, parts in zip(levels, looked.parts, strict=True):
            wanted |= split(totals[level.sid], parts)
            for part in parts:
                # The provider's answer about the meeting concerns each of its pools.
                pool = structs.replace(part, block=level.block) if len(parts) > 1 else part
                if pool.sid in self.skipped:
                    continue
                under_way = making[level.sid] if pool.block else making_for[pool.sid]
                need = need_of(meetings[level.sid], pool, wanted[pool.sid], under_way)
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
        if self.probing.block is not None:
            return Plan(workspace_probe(needs, self.probing.block))
        due = {
            level.sid: level.block.probe_at_ms
            for level in levels
            if level.block is not None and self.probing.is_due(level)
        }
        probes = [need for need in needs if need.probe and need.sid in due]
        probes.sort(key=lambda need: due[need.sid])
        exact = not entering and self.under_way.entries == entries
        links = plan([need for need in needs if not need.probe], PLAN_LINKS)
        found = Plan(links, probes, exact=exact)
        # The next look is exact.
        self.looks_again |= found.unsure and not self.under_way.is_any_entering
        return found

    # -- making --------------------------------------------------------------------

    def start(self, need: Need) -> None:
        """Begin to make a link."""
        self.under_way.start(need, self._make(need), self._made)

    def _made(self, need: Need, error: BaseException | None) -> None:
        self.looks_again |= self.plan.unsure and not self.under_way.is_any_entering
        if error is not None:
            log.error("top-up step failed", meeting=need.sid, exc_info=error)
            self.leave(need.pool)

    async def _make(self, need: Need) -> None:
        """Make one link: at the provider, then in the ledger, then in the pool."""
        try:
            new = await self._maker.make_now(need.sid, meetings=self.meetings, probe=need.probe)
        except ProviderError as error:
            await self._heed(need, error)
            return
        except StoreError:
            self.stops = True
            return
        except LedgerUnavailable as error:
            self._lose(need.sid, error)
            return
        self.under_way.enter()
        try:
            outcome = await self._pool_writer.put(need.sid, need.epoch, new)
        except LedgerUnavailable as error:
            self._lose(need.sid, error)
            return
        self._maker.patience.worked()
        self._count(need.sid, outcome)
        await self._maker.received(need.sid, is_new=outcome != "duplicate")
        if outcome == "duplicate" and self._maker.troubles.is_blamed(need.sid):
            self.plan.drop(need.sid)
        if outcome == "quarantined":
            self.leave(need.pool)
        if outcome != "added":
            return
        self.added += 1
        if need.probe:
            await self._store.blocks.put(need.sid, None)
            self.looks_again = True
        await self._lift_workspace()

    def _lose(self, sid: str, error: LedgerUnavailable) -> None:
        """Count a link that could not be written to the ledger, and make no more for a while."""
        log.warning("link lost: the ledger is away", meeting=sid, reason=str(error))
        self._count(sid, "lost")
        if not self.stops:
            self._maker.patience.failed()
        self.stops = True

    async def _heed(self, need: Need, error: ProviderError) -> None:
        """Adjust the plan to a failure. It was counted, and a block was set, where it happened."""
        if self._maker.troubles.is_blamed(need.sid):
            self.plan.drop(need.sid)
        block = self.probing.block
        if self._maker.workspace_blocks != self._workspace_blocks:
            self._workspace_blocks = self._maker.workspace_blocks
            self.looks_again = True
        elif isinstance(error, MeetingRefused) and block and kind_of(error) != block.kind:
            # The provider accepts the key again, but has another problem than before.
            await self._lift_workspace()

    async def _lift_workspace(self) -> None:
        if self.probing.block is not None:
            self.looks_again = True
            await self.probing.lift()

    def leave(self, pool: str) -> None:
        """Make no more links for this pool in this run, since they do not enter it.

        End the run if a second meeting has such a pool, or if half of all pools are such: the links
        of the others may not enter, either.
        """
        self.skipped.add(pool)
        self.plan.drop_pool(pool)
        meetings = {sid_of(each) for each in self.skipped}
        only_one = self.meetings == 1 and 2 * len(self.skipped) >= self._pools
        self.stops |= len(meetings) > 1 or only_one
