"""Notice a fallen fence, and assert again what this process answered.

Every answer of before the fall must be asserted before the pool is recovered, or never be given.
Replies of Redis that are still on their way at the fall are the difficult ones. So when a process
asserts all it answered lately, it gives up the calls that are under way in that same moment: what
was read by then is asserted, and what comes later is not answered. Calls that begin after it meet
the fallen fence, or the recovered pool.

Redis may lose what was asserted, too, before the ledger has it. Marks beside it show that
(pool/store/asserted.py), and then all is asserted anew.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from pool.durability.recent_claims import RecentClaims
from pool.errors import Fenced, LinkpoolError
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.asserted import Mark
from pool.store.records import AnsweredClaim

log = structlog.get_logger()

_CLAIMS_PER_CALL = 200  # claims asserted again by one script call
# Between two assertions of a pool, since many claims meet the same fallen fence.
_AGAIN_SECONDS = 0.2

GiveUp = Callable[[str, float], object]  # takes a pool, and a moment of the monotonic clock


class _Asserted:
    """The claims of one pool that this process has asserted, and the mark that shows their loss."""

    def __init__(self) -> None:
        self.mark = Mark()
        self.newest: object = None  # identifies the latest answer that is asserted
        self.pools: set[str] = set()  # those that got the claims, and bear the mark


class FenceWatch:
    """Asserts this process's recent claims again as soon as a fence has fallen.

    Claims notice a fallen fence by themselves; this also notices it when no claims come.
    """

    def __init__(
        self,
        store: Store,
        recent_claims: RecentClaims,
        clock: Callable[[], float] = time.monotonic,
        *,
        meeting_of: Callable[[str], Meeting | None] = lambda _sid: None,
    ) -> None:
        """Prepare; `meeting_of` returns what this process knows of the meeting with a SID."""
        self._meeting_of = meeting_of
        self._store = store
        self._recent_claims = recent_claims
        self._clock = clock
        self._epochs: dict[str, str] = {}
        self._looked_at = -math.inf  # when the last look that was answered began
        self._asserted: dict[str, _Asserted] = {}
        self._begun: dict[str, float] = {}  # when a pool's claims were asserted, or looked at
        self._owed: set[str] = set()  # pools whose claims `look` asserts again, once it may
        self._at_work: set[str] = set()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._give_up: list[GiveUp] = []

    def gives_up(self, *give_up: GiveUp) -> None:
        """Add functions that give up a pool's claims under way which joined before a moment."""
        self._give_up += give_up

    def fallen(self, pool: str, *, before: float = math.inf) -> None:
        """Assert the pool's claims again, as far as this Redis lacks them.

        Claims under way that joined `before` that moment may have been served before the fall. If
        this was done a moment ago, `look` does it again in a moment.
        """
        last = self._begun.get(pool, -math.inf)
        if pool in self._at_work or last > self._clock() - _AGAIN_SECONDS:
            self._owed.add(pool)
            return
        self._owed.discard(pool)
        # Noted here and not in the task: many claims meet the same fallen fence at once.
        self._begun[pool] = self._clock()
        self._at_work.add(pool)
        task = asyncio.create_task(self._assert_again(pool, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def assertion(self, pool: str) -> object:
        """Return a value that identifies the pool's last full assertion; each has another."""
        return self._asserted.get(pool)

    async def catch_up(self, pool: str, assertion: object) -> None:
        """Assert the latest answers, too, if all others were asserted after this `assertion`.

        This is for answers that cannot be given up. Raise Fenced if Redis does not take it now.
        """
        while pool in self._at_work:  # noqa: ASYNC110 - it is rare and short
            await asyncio.sleep(0.01)
        if self.assertion(pool) is assertion:
            return
        self._at_work.add(pool)
        if not await self._assert_again(pool, -math.inf):
            raise Fenced(pool)

    async def look(self) -> None:
        """Check the fences of the pools that this process answered claims of lately."""
        known: dict[str, str] = {}
        began = self._clock()
        fences = await self._store.recovery.fences(list(self._recent_claims.sids()))
        before, self._looked_at = self._looked_at, began
        self._forget({sid for sid, _, _ in fences})
        for sid, fence, epoch in fences:
            if fence == "unreadable":  # its master is away: what was known of it is kept
                if sid in self._epochs:
                    known[sid] = self._epochs[sid]
                continue
            last = self._epochs.get(sid, epoch)
            if fence == "fallen":
                self.fallen(sid)
            elif fence == "stands" and (epoch != last or sid in self._owed):
                # Fallen and recovered since the last look, after which claims were served anew.
                self.fallen(sid, before=before)
            known[sid] = epoch if fence == "stands" else last
        self._epochs = known

    def _forget(self, pools: set[str]) -> None:
        """Forget all pools but these: the others have no recent claims any more."""
        self._owed &= pools
        for pool in self._begun.keys() - pools - self._at_work:
            del self._begun[pool]
            self._asserted.pop(pool, None)

    async def _assert_again(self, pool: str, before: float) -> bool:
        """Assert what this Redis lacks. Return False if that failed; `look` then tries again."""
        try:
            last = self._asserted.get(pool)
            if last is None or not await self._has(last):
                await self._assert_all(pool, before)
            elif claims := self._recent_claims.since(pool, last.newest):
                last.newest = self._recent_claims.newest(pool)
                last.mark.added += 1
                await self._assert(pool, claims, last)
        except LinkpoolError as error:
            self._asserted.pop(pool, None)
            self._begun.pop(pool, None)
            self._owed.add(pool)
            log.warning("claims not asserted again yet", meeting=pool, reason=str(error))
            return False
        finally:
            self._at_work.discard(pool)
        return True

    async def _assert_all(self, pool: str, before: float) -> None:
        # Nothing is awaited between the two: each answer is either among the claims, or not given.
        for give_up in self._give_up:
            give_up(pool, before)
        claims = self._recent_claims.lately(pool)
        asserted = self._asserted[pool] = _Asserted()
        asserted.newest = self._recent_claims.newest(pool)
        await self._assert(pool, claims, asserted)

    async def _has(self, asserted: _Asserted) -> bool:
        """Return True if no pool has lost what was asserted."""
        marks = self._store.asserted
        return all([await marks.stand(pool, asserted.mark) for pool in asserted.pools])

    async def _assert(
        self, pool: str, claims: Sequence[AnsweredClaim], asserted: _Asserted
    ) -> None:
        conflicts = 0
        for target, some in self._by_pool(pool, claims).items():
            if target not in asserted.pools:
                await self._store.asserted.begin(target, asserted.mark)
                asserted.pools.add(target)
            # The latest first: the ledger has the others already, unless the recorder is slow.
            for start in reversed(range(0, len(some), _CLAIMS_PER_CALL)):
                conflicts += await self._store.assert_again(
                    target, some[start : start + _CLAIMS_PER_CALL]
                )
        for target in asserted.pools:
            await self._store.asserted.done(target, asserted.mark)
        log.info("claims asserted again", meeting=pool, claims=len(claims), conflicts=conflicts)

    def _by_pool(
        self, pool: str, claims: Sequence[AnsweredClaim]
    ) -> dict[str, Sequence[AnsweredClaim]]:
        """Return the claims of a pool by the pools that serve their customers now.

        A change of the meeting's number of shards gives its customers other pools.
        """
        meeting = self._meeting_of(sid_of(pool))
        if meeting is None or pool in meeting.pools:
            return {pool: claims}
        found: dict[str, list[AnsweredClaim]] = defaultdict(list)
        for claim in claims:
            found[self._store.pool_of(meeting, claim.customer_id)].append(claim)
        return dict(found)
