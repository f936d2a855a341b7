"""Take claims, and serve those that wait together with one script call.

Claims that arrive while a call for their meeting is under way form the next batch. A claim
alone on an idle server is sent at once; there are no timers. Each claim is answered, with
a link or a typed error, within `timeout_seconds` (plus `direct_timeout` when its link has
to be made on the spot).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import structlog

from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Line, Receipt, Waiter, Waiting
from pool.claims.refusals import outcome_of, refusal_of
from pool.claims.roles import Listener, OnDemand
from pool.claims.script_calls import ScriptCall, ScriptCalls
from pool.durability.recent_claims import RecentClaims
from pool.errors import Fenced, LinkpoolError, PoolEmpty, StoreUnavailable, UnknownMeeting
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store import Store
from pool.store.records import BATCH_LIMIT, AnsweredClaim, Batch, Outcome, payload

log = structlog.get_logger()

Ended = defaultdict[str, int]  # how many claims ended with each outcome

CALLS_PER_MEETING = 2  # more would only cut batches smaller
WORTH_A_CALL = BATCH_LIMIT // 2  # this many waiting customers are worth a second call
CALLS_AT_ONCE = 32  # of all meetings; those that begin together are sent as one
WAITING_LIMIT = 20_000  # claims; beyond it the answer is 503 at once


class Desk:
    """Takes claims for all meetings. Each API process has one."""

    def __init__(
        self,
        store: Store,
        known_meetings: KnownMeetings,
        recent_claims: RecentClaims,
        on_demand: OnDemand,
        listener: Listener,
        *,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._known_meetings = known_meetings
        self._recent_claims = recent_claims
        self._on_demand = on_demand
        self._listener = listener
        self._timeout = timeout_seconds
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._ready: deque[Line] = deque()
        self._calls = ScriptCalls(store, known_meetings, clock, self._ended)
        self._makings: set[asyncio.Task[None]] = set()
        self._falls: defaultdict[str, int] = defaultdict(int)  # of the pools' fences
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
        """Return the customer's link of this meeting: the one they hold, or a fresh one.

        With `limited`, return only the one they hold. Raise UnknownMeeting, PoolEmpty,
        PoolPaused, RateLimited, Fenced or StoreUnavailable.
        """
        if self._known_meetings.get(sid) is None:
            await self._known_meetings.find(sid)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.join(answer, sid, customer_id, email, metadata, limited=limited)
        return await answer

    def join(
        self,
        waiter: Waiter,
        sid: str,
        customer_id: str,
        email: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        limited: bool = False,
    ) -> None:
        """Put a customer of a known meeting in line, without I/O.

        The waiter is given what `claim` returns or raises. A waiter that stops waiting does not
        affect the answers of the others.
        """
        if self._waiting >= WAITING_LIMIT:
            self._listener.outcome(sid, "error", 1)
            waiter.set_exception(
                StoreUnavailable("too many claims are waiting; come back in a second")
            )
            return
        name = self._store.names.name(sid, customer_id)
        pool = sid
        if self._known_meetings.spread:
            pool = self._pool_of(sid, name)
        # Packed before the customer is put in line: what cannot be packed raises here and
        # leaves nothing behind.
        document = b"" if limited else payload(customer_id, email, metadata)
        line = self._lines.get(pool)
        if line is None:
            line = self._lines[pool] = Line(pool, sid)
        entry = line.waiting.get(name)
        if entry is None:
            entry = line.waiting[name] = Waiting(name, customer_id, self._clock())
        entry.payload = entry.payload or document
        entry.answers.append(waiter)
        self._waiting += 1
        self._enqueue(line)

    def remember(self, meeting: Meeting, customer_id: str, claim: Claim, document: bytes) -> None:
        """Keep a claim that another part of this process answered, to assert it again."""
        ttl_ms = meeting.claim_ttl_seconds * 1000
        self._recent_claims.remember(
            meeting.pool_of(self._store.names.name(meeting.sid, customer_id)),
            [AnsweredClaim(customer_id, claim, ttl_ms, document)],
        )

    def give_up(self, pool: str, before: float) -> None:
        """Refuse the claims of a pool that are under way, since its fence has fallen.

        Only those that joined `before` that moment are meant. Redis may have forgotten their
        links, and their replies may come after this process has asserted what it had answered.
        """
        self._falls[pool] += 1
        self._calls.give_up(pool, before, Fenced(pool))

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        while len(self._calls) or self._makings:  # noqa: ASYNC110 - an event would cost every call
            await asyncio.sleep(0.005)

    def pool_of(self, sid: str, customer_id: str) -> str:
        """Return the pool that serves this customer of a known meeting."""
        if not self._known_meetings.spread:
            return sid
        return self._pool_of(sid, self._store.names.name(sid, customer_id))

    def _pool_of(self, sid: str, name: str) -> str:
        """Return the pool that serves the customer with this name."""
        meeting = self._known_meetings.spread.get(sid)
        return sid if meeting is None else meeting.pool_of(name)

    # -- batches -----------------------------------------------------------------

    def _enqueue(self, line: Line) -> None:
        if not line.queued and self._may_send(line):
            line.queued = True
            self._ready.append(line)
        if self._ready and not self._pumping:
            # On the next turn of the loop: claims read from other sockets in this turn
            # still join the batch.
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _may_send(self, line: Line) -> bool:
        """Return True if a batch should be sent now.

        The first is sent at once, and a second beside it only when it is worth its own call.
        """
        if line.calls == 0:
            return True
        return line.calls < CALLS_PER_MEETING and len(line.waiting) >= WORTH_A_CALL

    def _pump(self) -> None:
        self._pumping = False
        if len(self._ready) > 1:
            # As one script call, where their pools have no slots, or in one write.
            with self._store.claims_together():
                self._begin_calls()
        else:
            self._begin_calls()

    def _begin_calls(self) -> None:
        while self._ready and len(self._calls) < CALLS_AT_ONCE:
            line = self._ready.popleft()
            line.queued = False
            batch = [line.waiting.pop(name) for name in list(line.waiting)[:BATCH_LIMIT]]
            if not batch:
                continue
            line.calls += 1
            self._calls.begin(ScriptCall(line, batch, batch[0].since + self._timeout))
            if line.waiting and self._may_send(line):
                line.queued = True
                self._ready.append(line)  # behind the other meetings: each gets its turn

    def _ended(self, call: ScriptCall, result: Batch | Exception) -> None:
        line = call.line
        try:
            self._serve(line, call.batch, result)
        finally:
            line.calls -= 1
            if line.waiting:
                self._enqueue(line)
            elif not line.calls:
                self._lines.pop(line.pool, None)
            if self._ready and not self._pumping:
                self._pumping = True
                asyncio.get_running_loop().call_soon(self._pump)

    # -- answers -----------------------------------------------------------------

    def _serve(self, line: Line, batch: list[Waiting], result: Batch | Exception) -> None:
        """Answer everyone in a batch with the result of their call. Never raise."""
        sid = line.sid
        ended: Ended = defaultdict(int)
        try:
            if isinstance(result, Exception):
                raise result
            meeting = self._known_meetings.get(sid)
            if meeting is None:
                raise UnknownMeeting(f"there is no meeting {sid}")
            if result.nudge:
                self._listener.low(meeting)
            # Remembered before the first answer goes out: every answer given can be asserted again.
            lately_ms = self._lately_ms()
            ttl_ms = meeting.claim_ttl_seconds * 1000
            self._recent_claims.remember(
                line.pool,
                [
                    _answered(entry, answer.claim, ttl_ms)
                    for entry, answer in zip(batch, result.answers, strict=True)
                    if answer.claim is not None
                    and (answer.outcome is Outcome.NEW or _is_recent(answer.claim, lately_ms))
                ],
            )
            for entry, answer in zip(batch, result.answers, strict=True):
                if answer.claim is not None:
                    self._answer(meeting, entry, answer.claim, answer.outcome, ended)
                elif answer.outcome is Outcome.EMPTY:
                    making = asyncio.create_task(self._make_on_demand(meeting, entry))
                    self._makings.add(making)
                    making.add_done_callback(self._makings.discard)
                else:
                    self._refuse(entry, refusal_of(meeting, answer.outcome), ended)
        except LinkpoolError as error:
            for entry in batch:
                self._refuse(entry, error, ended)
            if isinstance(error, Fenced):
                self._listener.fenced(line.pool)
        except Exception as error:
            log.exception("claims not served", meeting=sid)
            problem = StoreUnavailable(f"the claim could not be served: {type(error).__name__}")
            for entry in batch:
                self._refuse(entry, problem, ended)
        else:
            if "new" in ended:
                self._listener.claimed(meeting)
        # The listener comes last: whatever it does, nobody is left waiting.
        self._listener.batch(len(batch))
        self._tell(sid, ended)

    def _answer(
        self, meeting: Meeting, entry: Waiting, claim: Claim, outcome: str, ended: Ended
    ) -> None:
        """Give the link to the first of a customer's requests, and to the others as reused."""
        receipt = Receipt(meeting, claim, outcome)
        for waiter in self._taken(entry):
            if not waiter.done():
                waiter.set_result(receipt)
            ended[receipt.outcome] += 1
            if outcome != "reused":
                receipt = Receipt(meeting, claim, "reused")

    def _refuse(self, entry: Waiting, error: LinkpoolError, ended: Ended) -> None:
        for waiter in self._taken(entry):
            if not waiter.done():
                waiter.set_exception(error)
            ended[outcome_of(error)] += 1

    def _taken(self, entry: Waiting) -> list[Waiter]:
        """Return the waiters of this entry and take them off it, as they are answered now."""
        waiters, entry.answers = entry.answers, []
        self._waiting -= len(waiters)
        return waiters

    def _tell(self, sid: str, ended: Ended) -> None:
        for outcome, count in ended.items():
            self._listener.outcome(sid, outcome, count)

    async def _make_on_demand(self, meeting: Meeting, entry: Waiting) -> None:
        ended: Ended = defaultdict(int)
        pool = meeting.pool_of(entry.name)
        falls = self._falls[pool]
        try:
            claim, made = await self._on_demand.make_and_bind(meeting, entry.name, entry.payload)
            if self._falls[pool] != falls:
                raise Fenced(pool)  # as in `give_up`
            if made or _is_recent(claim, self._lately_ms()):
                answered = _answered(entry, claim, meeting.claim_ttl_seconds * 1000)
                self._recent_claims.remember(pool, [answered])
            self._answer(meeting, entry, claim, "direct" if made else "reused", ended)
        except LinkpoolError as error:
            self._refuse(entry, error, ended)
            if isinstance(error, Fenced):
                self._listener.fenced(pool)
        except Exception as error:
            log.exception("link not made on the spot", meeting=meeting.sid)
            problem = PoolEmpty(f"no link could be made: {type(error).__name__}")
            self._refuse(entry, problem, ended)
        if "direct" in ended:
            self._listener.claimed(meeting)
        self._tell(meeting.sid, ended)

    def _lately_ms(self) -> float:
        return (time.time() - self._recent_claims.seconds) * 1000


def _answered(entry: Waiting, claim: Claim, ttl_ms: int) -> AnsweredClaim:
    # A limited request sent no payload, and the recorder needs one.
    document = entry.payload or payload(entry.customer_id)
    return AnsweredClaim(entry.customer_id, claim, ttl_ms, document)


def _is_recent(claim: Claim, lately_ms: float) -> bool:
    """Return True if an existing claim is so recent that no process may remember it.

    The call that bound it may have lost its reply, to this process or another.
    """
    return claim.state == "claimed" and claim.claimed_at_ms > lately_ms
