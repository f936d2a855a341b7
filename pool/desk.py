"""The desk: takes claims, and serves those that wait together with one script call.

Claims that arrive while a call for their meeting is under way form the next batch. A claim
alone on an idle server is sent at once; there are no timers. Each claim is answered, with
a link or a typed error, within `timeout_seconds` (plus `direct_timeout` when its link has
to be made on the spot).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from pool.errors import (
    Fenced,
    LinkpoolError,
    PoolEmpty,
    PoolPaused,
    RateLimited,
    StoreUnavailable,
    UnknownMeeting,
)
from pool.links import Claim
from pool.meetings import Meeting
from pool.redo import RedoBuffer
from pool.registry import Registry
from pool.store import Store
from pool.store.records import Answer, Outcome, Redo, payload
from pool.store.store import BATCH_LIMIT

log = structlog.get_logger()

FLIGHTS_PER_MEETING = 2  # more would only cut batches smaller
FLIGHTS = 8  # of all meetings together; each holds one connection
WAITING_LIMIT = 20_000  # claims; beyond it the answer is 503 at once


@dataclass(frozen=True, slots=True)
class Receipt:
    """A claim as answered; `outcome` is new, reused or direct, as in the metrics."""

    meeting: Meeting
    claim: Claim
    outcome: str

    @property
    def reused(self) -> bool:
        """Whether the customer held this link before."""
        return self.outcome == "reused"


class Ladder(Protocol):
    """What happens when the pool is empty."""

    async def climb(self, meeting: Meeting, name: str, payload: bytes) -> tuple[Claim, bool]:
        """A claim and whether it was made now; raises PoolEmpty and other errors."""


class Listener(Protocol):
    """Who is told what the desk sees. Calls return at once and never raise."""

    def claimed(self, meeting: Meeting) -> None:
        """A new link was bound: there is something to record."""

    def low(self, meeting: Meeting) -> None:
        """The pool is below its target."""

    def fenced(self, sid: str) -> None:
        """The fence has fallen."""

    def batch(self, size: int) -> None:
        """A script call served this many customers."""

    def outcome(self, sid: str, outcome: str) -> None:
        """How one claim ended, in the words of linkpool_claims_total."""


class _Waiting:
    """One customer in line, however many requests wait for the answer."""

    __slots__ = ("customer_id", "name", "payload", "since", "waiters")

    def __init__(self, name: str, customer_id: str, since: float) -> None:
        self.name = name
        self.customer_id = customer_id
        self.payload = b""  # stays empty while nobody here may have a new link
        self.since = since
        self.waiters: list[asyncio.Future[Receipt]] = []

    def answer(self, receipt: Receipt) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(receipt)

    def refuse(self, error: LinkpoolError) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


class _Line:
    """The customers of one meeting who wait, in order of arrival."""

    __slots__ = ("flights", "queued", "sid", "waiting")

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.waiting: dict[str, _Waiting] = {}
        self.flights = 0
        self.queued = False


class Desk:
    """Takes claims for all meetings; one per API process."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        redo: RedoBuffer,
        ladder: Ladder,
        listener: Listener,
        *,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registry = registry
        self._redo = redo
        self._ladder = ladder
        self._listener = listener
        self._timeout = timeout_seconds
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._ready: deque[_Line] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._climbs: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._pumping = False

    async def claim(
        self,
        sid: str,
        customer_id: str,
        email: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        limited: bool = False,
    ) -> Receipt:
        """The customer's link of this meeting: the one they hold, or a fresh one.

        With `limited`, only the one they hold. Raises UnknownMeeting, PoolEmpty,
        PoolPaused, RateLimited, Fenced or StoreUnavailable.
        """
        meeting = self._registry.get(sid) or await self._registry.find(sid)
        if self._waiting >= WAITING_LIMIT:
            self._listener.outcome(sid, "error")
            raise StoreUnavailable("too many claims are waiting; come back in a second")
        name = self._store.names.name(sid, customer_id)
        line = self._lines.get(sid)
        if line is None:
            line = self._lines[sid] = _Line(sid)
        entry = line.waiting.get(name)
        if entry is None:
            entry = line.waiting[name] = _Waiting(name, customer_id, self._clock())
        if not limited and not entry.payload:
            entry.payload = payload(customer_id, email, metadata)
        waiter: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        entry.waiters.append(waiter)
        self._waiting += 1
        self._enqueue(line)
        try:
            receipt = await waiter
        except LinkpoolError as error:
            self._listener.outcome(sid, _outcome_of(error))
            raise
        finally:
            self._waiting -= 1
        # Of several requests of one customer in one batch, one got the link, the rest its copy.
        if receipt.outcome != "reused" and entry.waiters[0] is not waiter:
            receipt = Receipt(meeting, receipt.claim, "reused")
        self._listener.outcome(sid, receipt.outcome)
        return receipt

    async def close(self) -> None:
        """Waits for the calls that are under way."""
        while under_way := self._flights | self._climbs:
            await asyncio.gather(*under_way, return_exceptions=True)

    # -- batches -----------------------------------------------------------------

    def _enqueue(self, line: _Line) -> None:
        if not line.queued and line.flights < FLIGHTS_PER_MEETING:
            line.queued = True
            self._ready.append(line)
        if self._ready and not self._pumping:
            # On the next turn of the loop: claims read from other sockets in this turn
            # still join the batch.
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        while self._ready and len(self._flights) < FLIGHTS:
            line = self._ready.popleft()
            line.queued = False
            batch = [line.waiting.pop(name) for name in list(line.waiting)[:BATCH_LIMIT]]
            if not batch:
                continue
            line.flights += 1
            flight = asyncio.create_task(self._fly(line, batch))
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
            flight.add_done_callback(lambda _, line=line: self._landed(line))  # type: ignore[misc]
            if line.waiting and line.flights < FLIGHTS_PER_MEETING:
                line.queued = True
                self._ready.append(line)  # behind the other meetings: each gets its turn

    def _landed(self, line: _Line) -> None:
        line.flights -= 1
        if line.waiting:
            self._enqueue(line)
        elif not line.flights:
            self._lines.pop(line.sid, None)
        if self._ready and not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    async def _fly(self, line: _Line, batch: list[_Waiting]) -> None:
        sid = line.sid
        self._listener.batch(len(batch))
        try:
            answers, meeting = await self._call(sid, batch)
        except LinkpoolError as error:
            if isinstance(error, Fenced):
                self._listener.fenced(sid)
            for entry in batch:
                entry.refuse(error)
            return
        except Exception as error:
            log.exception("claims not served", meeting=sid)
            problem = StoreUnavailable(f"the claim could not be served: {type(error).__name__}")
            for entry in batch:
                entry.refuse(problem)
            return
        bound = False
        for entry, answer in zip(batch, answers, strict=True):
            if answer.claim is not None:
                if answer.outcome is Outcome.NEW:
                    bound = True
                    self._remember(meeting, entry, answer.claim)
                entry.answer(Receipt(meeting, answer.claim, answer.outcome.value))
            elif answer.outcome is Outcome.PAUSED:
                entry.refuse(_paused(meeting))
            elif answer.outcome is Outcome.LIMITED:
                entry.refuse(RateLimited("too many new claims; those who hold a link still get it"))
            else:
                climb = asyncio.create_task(self._climb(meeting, entry))
                self._climbs.add(climb)
                climb.add_done_callback(self._climbs.discard)
        if bound:
            self._listener.claimed(meeting)

    async def _call(self, sid: str, batch: list[_Waiting]) -> tuple[list[Answer], Meeting]:
        """One script call; again after a broken connection, until the deadline.

        Repeating is safe: whoever got a link by the lost call gets the same one.
        """
        deadline = batch[0].since + self._timeout
        customers = [(entry.name, entry.payload) for entry in batch]
        pause, republished = 0.0, False
        while True:
            left = deadline - self._clock()
            if left <= 0:
                raise StoreUnavailable("Redis did not answer in time")
            try:
                async with asyncio.timeout(left):
                    result = await self._store.claim(sid, customers)
            except TimeoutError:
                raise StoreUnavailable("Redis did not answer in time") from None
            except UnknownMeeting:
                # Redis lost the settings of a meeting we know: it is told again, once.
                if republished:
                    raise
                await self._store.published.put([await self._registry.find(sid)])
                republished = True
                continue
            except StoreUnavailable as error:
                if not error.connection_lost or self._clock() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(0.2, pause * 2 or 0.02)
                continue
            meeting = await self._registry.find(sid)
            if result.nudge:
                self._listener.low(meeting)
            return result.answers, meeting

    async def _climb(self, meeting: Meeting, entry: _Waiting) -> None:
        try:
            claim, made = await self._ladder.climb(meeting, entry.name, entry.payload)
        except LinkpoolError as error:
            if isinstance(error, Fenced):
                self._listener.fenced(meeting.sid)
            entry.refuse(error)
            return
        except Exception as error:
            log.exception("link not made on the spot", meeting=meeting.sid)
            entry.refuse(PoolEmpty(f"no link could be made: {type(error).__name__}"))
            return
        if made:
            self._remember(meeting, entry, claim)
            self._listener.claimed(meeting)
        entry.answer(Receipt(meeting, claim, "direct" if made else "reused"))

    def _remember(self, meeting: Meeting, entry: _Waiting, claim: Claim) -> None:
        ttl_ms = meeting.claim_ttl_seconds * 1000
        self._redo.remember(meeting.sid, Redo(entry.customer_id, claim, ttl_ms, entry.payload))


def _paused(meeting: Meeting) -> PoolPaused:
    reason = f": {meeting.pause_reason}" if meeting.pause_reason else ""
    return PoolPaused(f"claims of this meeting are paused{reason}", retry_after_seconds=30)


def _outcome_of(error: LinkpoolError) -> str:
    if isinstance(error, PoolEmpty):
        return "empty"
    if isinstance(error, PoolPaused):
        return "paused"
    if isinstance(error, Fenced):
        return "recovering"
    return "error"
