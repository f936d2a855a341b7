"""Call the claim script for batches of claims, and end every call in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf

from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Line, Waiting
from pool.errors import LinkpoolError, StoreUnavailable, UnknownMeeting
from pool.store import Store
from pool.store.records import Batch

_TOO_SLOW = "Redis did not answer in time"


class ScriptCall:
    """One call, and the batch that waits for it."""

    __slots__ = ("abandon", "batch", "deadline", "line", "task")

    def __init__(self, line: Line, batch: list[Waiting], deadline: float) -> None:
        self.line = line
        self.batch = batch
        self.deadline = deadline
        self.abandon: Callable[[], None] | None = None  # ends a call that no task waits for
        self.task: asyncio.Task[None] | None = None

    def customers(self) -> list[tuple[str, bytes]]:
        """Return the script's arguments: each customer's name and payload."""
        return [(entry.name, entry.payload) for entry in self.batch]


class ScriptCalls:
    """Makes the calls. `ended` is called once with the result of each, and must not raise.

    When a connection is ready, as it nearly always is, a call needs no task and no timer of its
    own: on an idle server they would cost a claim more than anything else it does here.
    """

    def __init__(
        self,
        store: Store,
        known_meetings: KnownMeetings,
        clock: Callable[[], float],
        ended: Callable[[ScriptCall, Batch | Exception], None],
    ) -> None:
        self._store = store
        self._known_meetings = known_meetings
        self._clock = clock
        self._ended = ended
        self._under_way: set[ScriptCall] = set()
        self._alarm: asyncio.TimerHandle | None = None  # for the call that is due first
        self._rings_at = inf  # by `clock`

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, call: ScriptCall) -> None:
        """Make a call. `ended` may be called before this returns."""
        self._under_way.add(call)
        try:
            call.abandon = self._store.claim_at_once(
                call.line.pool, call.customers(), partial(self._replied, call)
            )
        except Exception as error:  # noqa: BLE001 - it is the call's result
            self._end(call, error)
            return
        if call.abandon is None:
            self._go_on(call)
        else:
            self._set_alarm(call.deadline)

    def give_up(self, pool: str, joined_before: float, error: LinkpoolError) -> None:
        """End the calls under way for a pool whose first customer joined before that moment.

        Their replies, which may still come, are dropped.
        """
        for call in list(self._under_way):
            if call.line.pool != pool or call.batch[0].since >= joined_before:
                continue
            if call.abandon is not None:
                call.abandon()
                call.abandon = None
            elif call.task is not None:
                call.task.cancel()
            else:  # it is beginning, or ends in this very moment
                continue
            self._end(call, error)

    # -- at once -------------------------------------------------------------------

    def _replied(self, call: ScriptCall, result: Batch | Exception | None) -> None:
        call.abandon = None
        if result is None:
            self._go_on(call)
        else:
            self._end(call, result)

    def _end(self, call: ScriptCall, result: Batch | Exception) -> None:
        self._under_way.discard(call)
        self._ended(call, result)

    def _set_alarm(self, due: float) -> None:
        """Set the timer that ends calls without a reply in time, for one more deadline.

        One timer serves many calls: when it rings, it is set again for those under way then.
        """
        if self._rings_at <= due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        wait = max(0.0, due - self._clock())
        self._alarm, self._rings_at = asyncio.get_running_loop().call_later(wait, self._ring), due

    def _ring(self) -> None:
        self._alarm, self._rings_at = None, inf
        now = self._clock()
        for call in list(self._under_way):
            if call.abandon is not None and call.deadline <= now:
                call.abandon()
                call.abandon = None
                self._end(call, StoreUnavailable(_TOO_SLOW))
        waiting = [each.deadline for each in self._under_way if each.abandon]
        if waiting:
            self._set_alarm(min(waiting))

    # -- with retries --------------------------------------------------------------

    def _go_on(self, call: ScriptCall) -> None:
        call.task = asyncio.create_task(self._run(call))

    async def _run(self, call: ScriptCall) -> None:
        result: Batch | Exception
        try:
            result = await self._ask(call)
        except Exception as error:  # noqa: BLE001 - it is the call's result
            result = error
        if call in self._under_way:  # a library may have lost the cancellation of `give_up`
            self._end(call, result)

    async def _ask(self, call: ScriptCall) -> Batch:
        """Call the script, and call it again after a broken connection, until the deadline.

        Repeating is safe: a customer who got a link by the lost call gets the same one.
        """
        pool, sid, customers = call.line.pool, call.line.sid, call.customers()
        pause, unpublished = 0.0, False
        while True:
            left = call.deadline - self._clock()
            if left <= 0:
                raise StoreUnavailable(_TOO_SLOW)
            try:
                async with asyncio.timeout(left):
                    if unpublished:
                        await self._store.published.put([await self._known_meetings.find(sid)])
                    return await self._store.claim(pool, customers)
            except TimeoutError:
                raise StoreUnavailable(_TOO_SLOW) from None
            except UnknownMeeting:
                # Redis has lost the settings of a meeting that we know, so they are published
                # again, once.
                if unpublished:
                    raise
                unpublished = True
            except StoreUnavailable as error:
                if not error.connection_lost or self._clock() + pause >= call.deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(0.2, pause * 2 or 0.02)
