"""Notice a fallen fence, and assert again what this process answered."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from pool.durability.recent_claims import RecentClaims
from pool.errors import LinkpoolError
from pool.model.meetings import Meeting
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.records import AnsweredClaim

log = structlog.get_logger()

_CLAIMS_PER_CALL = 200  # claims asserted again by one script call
_AGAIN_SECONDS = 2.0


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
        self._asserted: dict[str, float] = {}
        self._owed: set[str] = set()  # pools whose claims `look` is to assert, once it may
        self._tasks: set[asyncio.Task[None]] = set()

    def fallen(self, sid: str) -> None:
        """Assert the pool's claims again; if that was done a moment ago, in a moment.

        Between two falls in a row the master before may have answered further claims.
        """
        if self._asserted.get(sid, -_AGAIN_SECONDS) > self._clock() - _AGAIN_SECONDS:
            self._owed.add(sid)
            return
        self._owed.discard(sid)
        # Noted here and not in the task: many claims meet the same fallen fence at once.
        self._asserted[sid] = self._clock()
        task = asyncio.create_task(self._assert_again(sid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look(self) -> None:
        """Check the fences of the pools that this process answered claims of lately."""
        known: dict[str, str] = {}
        fences = await self._store.recovery.fences(list(self._recent_claims.sids()))
        self._owed &= {sid for sid, _, _ in fences}  # of the others no claim is recent any more
        for sid, fence, epoch in fences:
            if fence == "unreadable":  # its master is away: what was known of it is kept
                if sid in self._epochs:
                    known[sid] = self._epochs[sid]
                continue
            before = self._epochs.get(sid, epoch)
            # Fallen, or fallen and recovered since the last look.
            again = fence == "stands" and (epoch != before or sid in self._owed)
            if fence == "fallen" or again:
                self.fallen(sid)
            known[sid] = epoch if fence == "stands" else before
        self._epochs = known

    async def _assert_again(self, sid: str) -> None:
        claims = self._recent_claims.lately(sid)
        conflicts = 0
        try:
            for pool, some in self._by_pool(sid, claims).items():
                for start in range(0, len(some), _CLAIMS_PER_CALL):
                    conflicts += await self._store.assert_again(
                        pool, some[start : start + _CLAIMS_PER_CALL]
                    )
        except LinkpoolError as error:
            self._asserted.pop(sid, None)
            self._owed.add(sid)
            log.warning("claims not asserted again yet", meeting=sid, reason=str(error))
            return
        log.info("claims asserted again", meeting=sid, claims=len(claims), conflicts=conflicts)

    def _by_pool(
        self, pool: str, claims: Sequence[AnsweredClaim]
    ) -> dict[str, Sequence[AnsweredClaim]]:
        """Return the claims of a pool by the pools that serve their customers now.

        They are others once the meeting has another number of shards.
        """
        meeting = self._meeting_of(sid_of(pool))
        if meeting is None or pool in meeting.pools:
            return {pool: claims}
        found: dict[str, list[AnsweredClaim]] = defaultdict(list)
        for claim in claims:
            found[self._store.pool_of(meeting, claim.customer_id)].append(claim)
        return dict(found)
