"""Script calls that are under way, each for a batch of claims; all end in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from pool.errors import StoreUnavailable, UnknownMeeting
from pool.registry import Registry
from pool.store import Store
from pool.store.records import Batch
from pool.waiting import Line, Waiting

_TOO_SLOW = "Redis did not answer in time"


class Flight:
    """One call, and who waits for it."""

    __slots__ = ("abandon", "batch", "deadline", "line", "task")

    def __init__(self, line: Line, batch: list[Waiting], deadline: float) -> None:
        self.line = line
        self.batch = batch
        self.deadline = deadline
        self.abandon: Callable[[], None] | None = None  # ends a call that no task waits for
        self.task: asyncio.Task[None] | None = None

    def customers(self) -> list[tuple[str, bytes]]:
        """What the script is asked."""
        return [(entry.name, entry.payload) for entry in self.batch]


class Flights:
    """Makes the calls. `landed` is told once of each what it came to, and must not raise.

    Where a connection stands ready, as it nearly always does, a call takes no task and no timer
    of its own: they would cost a claim on an idle server more than anything else it does here.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Callable[[], float],
        landed: Callable[[Flight, Batch | Exception], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._landed = landed
        self._under_way: set[Flight] = set()
        self._alarm: asyncio.TimerHandle | None = None  # for the call that is due first

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, flight: Flight) -> None:
        """Makes a call. May tell at once what it came to."""
        self._under_way.add(flight)
        try:
            flight.abandon = self._store.claim_at_once(
                flight.line.sid, flight.customers(), partial(self._told, flight)
            )
        except Exception as error:  # noqa: BLE001 - told, like every other
            self._land(flight, error)
            return
        if flight.abandon is None:
            self._go_on(flight)
        else:
            self._set_alarm()

    # -- at once -------------------------------------------------------------------

    def _told(self, flight: Flight, result: Batch | Exception | None) -> None:
        flight.abandon = None
        if result is None:
            self._go_on(flight)
        else:
            self._land(flight, result)

    def _land(self, flight: Flight, result: Batch | Exception) -> None:
        self._under_way.discard(flight)
        self._landed(flight, result)

    def _set_alarm(self) -> None:
        """Sees to it that calls without a reply end in time. One timer serves many calls: when
        it rings it is set for those that are under way then."""
        due = min((each.deadline for each in self._under_way if each.abandon), default=None)
        if due is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, due - self._clock())
        if self._alarm is not None:
            if self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock()
        for flight in list(self._under_way):
            if flight.abandon is not None and flight.deadline <= now:
                flight.abandon()
                flight.abandon = None
                self._land(flight, StoreUnavailable(_TOO_SLOW))
        self._set_alarm()

    # -- with patience -------------------------------------------------------------

    def _go_on(self, flight: Flight) -> None:
        flight.task = asyncio.create_task(self._call(flight))

    async def _call(self, flight: Flight) -> None:
        result: Batch | Exception
        try:
            result = await self._ask(flight)
        except Exception as error:  # noqa: BLE001 - told, like every other
            result = error
        self._land(flight, result)

    async def _ask(self, flight: Flight) -> Batch:
        """Asks; again after a broken connection, until the deadline.

        Repeating is safe: whoever got a link by the lost call gets the same one.
        """
        sid, customers = flight.line.sid, flight.customers()
        pause, unpublished = 0.0, False
        while True:
            left = flight.deadline - self._clock()
            if left <= 0:
                raise StoreUnavailable(_TOO_SLOW)
            try:
                async with asyncio.timeout(left):
                    if unpublished:
                        await self._store.published.put([await self._registry.find(sid)])
                    return await self._store.claim(sid, customers)
            except TimeoutError:
                raise StoreUnavailable(_TOO_SLOW) from None
            except UnknownMeeting:
                # Redis lost the settings of a meeting we know: it is told again, once.
                if unpublished:
                    raise
                unpublished = True
            except StoreUnavailable as error:
                if not error.connection_lost or self._clock() + pause >= flight.deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(0.2, pause * 2 or 0.02)
