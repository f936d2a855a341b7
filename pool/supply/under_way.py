"""Keep the links that a run of top-up is making, and decide what may be made beside them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from pool.supply.planning import Need

MOMENT_SECONDS = 0.05  # the shortest rest between two looks that find nothing to begin
SHARE = 2  # while others wait, a meeting takes at most one of this many slots
SUSPECT_SHARE = 4  # and all meetings that got no link lately together one of this many


class UnderWay:
    """The links under way. `slots` is how many there may be, and `is_suspect` takes a SID."""

    def __init__(self, slots: int, is_suspect: Callable[[str], bool]) -> None:
        self.slots = slots
        self._is_suspect = is_suspect
        self._tasks: set[asyncio.Task[None]] = set()
        self.by_meeting: Counter[str] = Counter()
        self.by_pool: Counter[str] = Counter()
        self.suspects = 0
        # Of links that are made, and on their way to a pool or just there.
        self._entering: set[asyncio.Task[None] | None] = set()
        self.entries = 0  # that have begun so far

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_any_entering(self) -> bool:
        """Return True if a link is on its way to a pool, or just there."""
        return bool(self._entering)

    def may_start(self, need: Need, *, lone: bool) -> bool:
        """Return True if a link for this meeting may be made now.

        `lone` says that no other meeting waits for the slots.
        """
        making = self.by_meeting[need.sid]
        if need.probe or self._is_suspect(need.sid):
            return not making and self.suspects < max(1, self.slots // SUSPECT_SHARE)
        return lone or making < max(1, self.slots // SHARE)

    def start(
        self,
        need: Need,
        work: Coroutine[Any, Any, None],
        ended: Callable[[Need, BaseException | None], None],
    ) -> None:
        """Begin to make a link by `work`. `ended` is called at its end, with what it raised."""
        suspect = need.probe or self._is_suspect(need.sid)
        self.by_meeting[need.sid] += 1
        self.by_pool[need.pool] += 1
        self.suspects += suspect
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self.by_meeting[need.sid] -= 1
            self.by_pool[need.pool] -= 1
            self.suspects -= suspect
            self._entering.discard(task)
            ended(need, None if task.cancelled() else task.exception())

        task.add_done_callback(done)

    def enter(self) -> None:
        """Note that the link of the current task is made, and is on its way to its pool."""
        self._entering.add(asyncio.current_task())
        self.entries += 1

    async def wait_for_one(self, *, until: float) -> None:
        """Wait for a link to be made, or until the next look, since a request may hang."""
        seconds = max(MOMENT_SECONDS, until - time.monotonic())
        await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def wait_for_all(self) -> None:
        """Wait until no link is under way, however each of them ends."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
