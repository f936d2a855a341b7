"""Test the desk: batches, deadlines, fairness, and the answers each caller gets."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

import pool.claims.desk
from pool.claims.desk import CALLS_AT_ONCE, CALLS_PER_MEETING, WORTH_A_CALL, Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Line, Receipt, Waiting
from pool.claims.script_calls import ScriptCall, ScriptCalls
from pool.durability.recent_claims import RecentClaims
from pool.errors import (
    Fenced,
    LedgerUnavailable,
    PoolEmpty,
    PoolPaused,
    RateLimited,
    StoreUnavailable,
    UnknownMeeting,
)
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store.bindings import CustomerNames
from pool.store.records import BATCH_LIMIT, Answer, Batch, Outcome

SID = "intro"
Call = tuple[str, list[tuple[str, bytes]]]


class FakePublished:
    """Meetings as Redis would have them: all, until the test takes them away."""

    def __init__(self) -> None:
        self.lost = False
        self.loses_again = False
        self.put_again: list[str] = []

    async def put(self, meetings: Sequence[Meeting]) -> None:
        self.put_again += [meeting.sid for meeting in meetings]
        self.lost = self.loses_again


class FakeStore:
    """Pools of as many links as wanted; each call takes a turn, or as long as the test says.

    `script` holds what the next calls come to: an error to raise, or a function to await.
    """

    def __init__(self, *, ready: bool) -> None:
        self.ready = ready  # whether a connection is: then nobody has to wait for one
        self.names = CustomerNames(b"key")
        self.published = FakePublished()
        self.calls: list[Call] = []
        self.script: list[Any] = []
        self.bound: dict[str, Claim] = {}
        self.stock = 1_000_000
        self.paused = False
        self.nudge = False
        self.under_way = Counter[str]()
        self.most_under_way = Counter[str]()
        self.gate: asyncio.Event | None = None

    def claims_together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def claim_at_once(
        self,
        sid: str,
        customers: Sequence[tuple[str, bytes]],
        told: Callable[[Batch | Exception | None], None],
    ) -> Callable[[], object] | None:
        async def ask() -> None:
            result: Batch | Exception | None
            try:
                result = await self.claim(sid, customers)
            except UnknownMeeting:
                result = None
            except StoreUnavailable as error:
                result = None if error.connection_lost else error
            except Exception as error:  # noqa: BLE001 - as the store does it
                result = error
            told(result)

        return asyncio.create_task(ask()).cancel if self.ready else None

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        self.calls.append((sid, list(customers)))
        self.under_way.update([sid, "all"])
        for key in (sid, "all"):
            self.most_under_way[key] = max(self.most_under_way[key], self.under_way[key])
        try:
            if self.script:
                step = self.script.pop(0)
                if isinstance(step, Exception):
                    raise step
                await step()
            if self.published.lost:
                raise UnknownMeeting("not here")
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.under_way.subtract([sid, "all"])
        return Batch([self._answer(name, payload) for name, payload in customers], 9, self.nudge)

    def _answer(self, name: str, payload: bytes) -> Answer:
        if name in self.bound:
            return Answer(Outcome.REUSED, self.bound[name])
        if not payload:
            return Answer(Outcome.LIMITED, None)
        if self.paused:
            return Answer(Outcome.PAUSED, None)
        if not self.stock:
            return Answer(Outcome.EMPTY, None)
        self.stock -= 1
        self.bound[name] = made(len(self.bound))
        return Answer(Outcome.NEW, self.bound[name])

    def sizes(self) -> list[int]:
        return [len(customers) for _, customers in self.calls]


def made(number: int) -> Claim:
    return Claim(slug=f"a-{number}", state="claimed", source="pool", claimed_at_ms=number)


class FakeLedgerMeetings:
    def __init__(self, *sids: str) -> None:
        self._meetings = {sid: Meeting(sid, pause_reason="holiday") for sid in sids}

    async def get(self, sid: str) -> Meeting | None:
        return self._meetings.get(sid)


class FakeLedger:
    def __init__(self, *sids: str) -> None:
        self.meetings = FakeLedgerMeetings(*sids)


@dataclass
class FakeOnDemandLinks:
    """A stand-in that makes a link for everyone, unless it is set to fail."""

    asked: list[str] = field(default_factory=list)
    error: Exception | None = None
    made: bool = True

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        self.asked.append(msgspec.msgpack.decode(payload)[0])
        claim = made(9_000 + len(self.asked))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return msgspec.structs.replace(claim, source="direct"), self.made


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.outcomes = Counter[str]()
        self.outcomes_at = Counter[tuple[str, str]]()

    def claimed(self, meeting: Meeting) -> None:
        self.told.append(("claimed", meeting.sid))

    def low(self, meeting: Meeting) -> None:
        self.told.append(("low", meeting.sid))

    def fenced(self, sid: str) -> None:
        self.told.append(("fenced", sid))

    def batch(self, size: int) -> None:
        self.batches.append(size)

    def outcome(self, sid: str, outcome: str, count: int) -> None:
        self.outcomes[outcome] += count
        self.outcomes_at[sid, outcome] += count


@dataclass
class Stage:
    """A desk and everything around it."""

    desk: Desk
    store: FakeStore
    on_demand: FakeOnDemandLinks
    heard: Heard
    recent_claims: RecentClaims

    async def claim(self, sid: str, who: str, *details: Any, **options: Any) -> Receipt:
        """Claim, and fail the test if no answer ever comes."""
        async with asyncio.timeout(90):
            return await self.desk.claim(sid, who, *details, **options)

    async def claims(self, *who: str) -> list[Receipt | BaseException]:
        """Claim all at once, in this order."""
        return await asyncio.gather(
            *(self.claim(SID, each) for each in who), return_exceptions=True
        )


MakeStage = Callable[..., Stage]


@pytest.fixture(params=[True, False], ids=["connection-ready", "none-ready"])
async def make_stage(request: pytest.FixtureRequest) -> AsyncIterator[MakeStage]:
    """Make desks, and wait at the end for what they have under way. Claims are served the same
    whether a connection stands ready or has to be waited for.
    """
    desks: list[Desk] = []

    def make(timeout_seconds: float = 60.0) -> Stage:
        store, on_demand = FakeStore(ready=request.param), FakeOnDemandLinks()
        heard, recent_claims = Heard(), RecentClaims()
        ledger: Any = FakeLedger(SID, *(f"m{n}" for n in range(20)))
        known_meetings = KnownMeetings(store, ledger)  # type: ignore[arg-type]
        desk = Desk(
            store,  # type: ignore[arg-type]
            known_meetings,
            recent_claims,
            on_demand,
            heard,
            timeout_seconds=timeout_seconds,
        )
        desks.append(desk)
        return Stage(desk, store, on_demand, heard, recent_claims)

    yield make
    async with asyncio.timeout(5):
        for desk in desks:
            await desk.close()


@pytest.fixture
async def stage(make_stage: MakeStage) -> Stage:
    """Return a desk with a deadline of two seconds."""
    return make_stage()


def slug_of(answer: Receipt | BaseException) -> str:
    assert isinstance(answer, Receipt), answer
    return answer.claim.slug


# -- batches -----------------------------------------------------------------------


async def test_a_claim_alone_is_sent_at_once(stage: Stage) -> None:
    """No timer waits for company: two turns of the loop, and the call is out."""
    task = asyncio.create_task(stage.claim(SID, "ann"))
    for _ in range(4):
        await asyncio.sleep(0)
    assert stage.store.sizes() == [1]
    assert (await task).claim.slug == "a-0"


async def test_claims_of_one_turn_share_a_call(stage: Stage) -> None:
    """Each gets their own link, in the order in which they came."""
    answers = await stage.claims("ann", "bob", "cyd")
    assert [slug_of(each) for each in answers] == ["a-0", "a-1", "a-2"]
    assert stage.store.sizes() == [3] == stage.heard.batches


async def test_what_arrives_meanwhile_forms_the_next_batch(stage: Stage) -> None:
    """While a call is under way claims gather; then they all go in one."""
    stage.store.gate = asyncio.Event()
    tasks = []
    for n in range(WORTH_A_CALL):
        tasks.append(asyncio.create_task(stage.claim(SID, f"c{n}")))
        await asyncio.sleep(0.002)
    assert stage.store.sizes() == [1]
    stage.store.gate.set()
    await asyncio.gather(*tasks)
    assert stage.store.sizes() == [1, WORTH_A_CALL - 1]


async def test_a_second_call_leaves_when_it_is_worth_it(stage: Stage) -> None:
    """With enough who wait for the first to come back; a third never does."""
    stage.store.gate = asyncio.Event()
    tasks = []
    for n in range(1 + 3 * WORTH_A_CALL):
        tasks.append(asyncio.create_task(stage.claim(SID, f"c{n}")))
        await asyncio.sleep(0.001)
    assert stage.store.sizes() == [1, WORTH_A_CALL]
    stage.store.gate.set()
    await asyncio.gather(*tasks)
    assert stage.store.sizes() == [1, WORTH_A_CALL, 2 * WORTH_A_CALL]


async def test_a_crowd_is_served_in_full_batches(stage: Stage) -> None:
    """No call serves more than the script allows, and everyone gets a link of their own."""
    answers = await stage.claims(*(f"c{n}" for n in range(1_000)))
    assert len({slug_of(each) for each in answers}) == 1_000
    assert max(stage.store.sizes()) == BATCH_LIMIT
    assert len(stage.store.calls) <= 1_000 / BATCH_LIMIT + 2
    assert stage.store.most_under_way[SID] == CALLS_PER_MEETING


async def test_five_hundred_claims_of_one_customer_are_one_entry(stage: Stage) -> None:
    """One call for one customer, one link; one request made it, the others got its copy."""
    answers = await stage.claims(*["ann"] * 500)
    assert {slug_of(each) for each in answers} == {"a-0"}
    assert stage.store.sizes() == [1]
    assert stage.heard.outcomes == {"new": 1, "reused": 499}
    assert [each.reused for each in answers if isinstance(each, Receipt)] == [False] + [True] * 499


async def test_a_customer_of_two_meetings_gets_two_links(stage: Stage) -> None:
    """Meetings never share a call."""
    both = await asyncio.gather(stage.claim("m0", "ann"), stage.claim("m1", "ann"))
    assert len({receipt.claim.slug for receipt in both}) == 2
    assert sorted(sid for sid, _ in stage.store.calls) == ["m0", "m1"]


async def test_a_crowd_at_one_meeting_does_not_keep_others_waiting(stage: Stage) -> None:
    """Each meeting gets its turn: the small one is served within the first calls."""
    crowd = [asyncio.create_task(stage.claim("m0", f"c{n}")) for n in range(40 * BATCH_LIMIT)]
    await asyncio.sleep(0)
    small = asyncio.create_task(stage.claim("m1", "ann"))
    await asyncio.gather(*crowd, small)
    assert [sid for sid, _ in stage.store.calls].index("m1") < 4


async def test_no_more_calls_than_connections_are_under_way(stage: Stage) -> None:
    """The bound holds over all meetings together."""
    await asyncio.gather(*(stage.claim(f"m{m}", f"c{c}") for m in range(20) for c in range(200)))
    assert stage.store.most_under_way["all"] == CALLS_AT_ONCE


async def test_what_the_recorder_needs_travels_with_the_claim(stage: Stage) -> None:
    """Customer id, e-mail and metadata."""
    await stage.claim(SID, "ann", "ann@example.com", {"lead": 1})
    [(_, [(name, payload)])] = stage.store.calls
    assert name == stage.store.names.name(SID, "ann")
    assert msgspec.msgpack.decode(payload) == ["ann", "ann@example.com", {"lead": 1}]


# -- waiters that leave ------------------------------------------------------------


async def test_a_visitor_who_leaves_disturbs_nobody(stage: Stage) -> None:
    """Customers who wait for the same link are served, and so is the rest of the batch."""
    stage.store.gate = asyncio.Event()
    tasks = [asyncio.create_task(stage.claim(SID, who)) for who in ("ann", "ann", "bob")]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.sleep(0)
    stage.store.gate.set()
    left, again, bob = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(left, asyncio.CancelledError)
    assert slug_of(again) == "a-0"
    assert slug_of(bob) == "a-1"
    assert [answered.customer_id for answered in stage.recent_claims.lately(SID)] == ["ann", "bob"]


async def test_a_visitor_who_leaves_before_the_call_disturbs_nobody(stage: Stage) -> None:
    """Their claim is still made: they may have sent it again already."""
    tasks = [asyncio.create_task(stage.claim(SID, who)) for who in ("ann", "bob")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert (await tasks[1]).claim.slug == "a-1"
    assert (await stage.claim(SID, "ann")).claim.slug == "a-0"


async def test_everybody_leaving_leaves_nothing_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the call is back, those who left do not count as waiting."""
    monkeypatch.setattr(pool.claims.desk, "WAITING_LIMIT", 10)
    stage.store.gate = asyncio.Event()
    tasks = [asyncio.create_task(stage.claim(SID, f"c{n}")) for n in range(10)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stage.store.gate.set()
    await stage.desk.close()
    assert (await stage.claim(SID, "ann")).outcome == "new"


# -- when Redis is slow, or gone -----------------------------------------------------


async def hang() -> None:
    await asyncio.sleep(60)


LOST = StoreUnavailable("Redis: connection lost", connection_lost=True)


async def test_the_deadline_is_kept_when_redis_hangs(make_stage: MakeStage) -> None:
    """Every customer is answered within the time promised, also those who came later."""
    stage = make_stage(timeout_seconds=0.2)
    stage.store.script = [hang, hang, hang]
    started = time.monotonic()
    first = asyncio.create_task(stage.claims("ann", "bob"))
    await asyncio.sleep(0.1)
    late = await stage.claims("cyd")
    answers = [*await first, *late]
    assert time.monotonic() - started < 10  # of 60
    assert all(isinstance(each, StoreUnavailable) for each in answers)
    assert stage.heard.outcomes == {"error": 3}


async def test_a_call_that_leaves_late_has_no_more_time(make_stage: MakeStage) -> None:
    """Its deadline counts from when its claims came, and may be before that of a call that
    left earlier."""
    stage = make_stage(timeout_seconds=0.6)
    stage.store.script = [hang, hang, hang]
    ended: list[str] = []

    async def refused(sid: str, who: str) -> None:
        with pytest.raises(StoreUnavailable, match="in time"):
            await stage.claim(sid, who)
        ended.append(f"{who}, {len(stage.store.calls)} calls")

    tasks = []
    for sid, who in (("m0", "ann"), ("m0", "bob"), ("m1", "cyd")):
        tasks.append(asyncio.create_task(refused(sid, who)))
        await asyncio.sleep(0.2)
    async with asyncio.timeout(30):
        # Bob's call leaves when Ann's is given up, and is due before Cyd's, which left long ago.
        await asyncio.wait(tasks[:2])
        assert not tasks[2].done()
        await tasks[2]
    assert ended == ["ann, 2 calls", "bob, 3 calls", "cyd, 3 calls"]


async def test_after_a_hang_claims_are_served_again(make_stage: MakeStage) -> None:
    """The desk is not stuck with the calls that never came back."""
    stage = make_stage(timeout_seconds=0.1)
    stage.store.script = [hang]
    await stage.claims("ann", "bob")
    assert slug_of((await stage.claims("cyd"))[0]) == "a-0"


async def test_a_broken_connection_is_tried_again(stage: Stage) -> None:
    """The same customers, on another connection; nobody notices."""
    stage.store.script = [LOST, LOST, LOST]
    answers = await stage.claims("ann", "bob")
    assert [slug_of(each) for each in answers] == ["a-0", "a-1"]
    assert stage.store.calls == [stage.store.calls[0]] * 4
    assert stage.heard.batches == [2]


async def test_a_redis_that_stays_away_is_reported_within_the_deadline(
    make_stage: MakeStage,
) -> None:
    """Tried again with pauses that grow, not in a tight loop."""
    stage = make_stage(timeout_seconds=0.3)
    stage.store.script = [LOST] * 1_000
    started = time.monotonic()
    [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert time.monotonic() - started < 5
    assert 3 <= len(stage.store.calls) <= 8


async def test_a_refusal_is_not_tried_again(stage: Stage) -> None:
    """A full Redis would only refuse once more."""
    stage.store.script = [StoreUnavailable("Redis: OOM")]
    [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert len(stage.store.calls) == 1


async def test_a_mistake_of_ours_is_a_typed_error(stage: Stage) -> None:
    """Nobody waits for ever, and the next claim is served."""
    stage.store.script = [ValueError("oh")]
    [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert "ValueError" in str(answer)
    assert slug_of((await stage.claims("bob"))[0]) == "a-0"


async def test_too_many_who_wait_are_refused_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is bounded; those who stand in it are served all the same."""
    monkeypatch.setattr(pool.claims.desk, "WAITING_LIMIT", 5)
    stage.store.gate = asyncio.Event()
    waiting = [asyncio.create_task(stage.claim(SID, f"c{n}")) for n in range(5)]
    await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable, match="too many"):
        await stage.claim(SID, "ann")
    assert not any(each.done() for each in waiting)
    stage.store.gate.set()
    await asyncio.gather(*waiting)
    assert (await stage.claim(SID, "ann")).outcome == "new"
    assert stage.heard.outcomes == {"new": 6, "error": 1}


# -- other answers -------------------------------------------------------------------


async def test_a_fallen_fence_is_reported(stage: Stage) -> None:
    """To everyone who waits, and to the listener, once a call."""
    stage.store.script = [Fenced(SID)]
    answers = await stage.claims("ann", "bob")
    assert all(isinstance(each, Fenced) for each in answers)
    assert stage.heard.told == [("fenced", SID)]
    assert stage.heard.outcomes == {"recovering": 2}
    assert stage.recent_claims.lately(SID) == []


async def test_claims_under_way_are_given_up_when_the_fence_falls(stage: Stage) -> None:
    """Their replies may come from before the fall, too late to be asserted again: nobody gets them.

    Those who joined later, and those of another meeting, are served.
    """
    assert (await stage.claim(SID, "zoe")).outcome == "new"
    stage.store.gate = asyncio.Event()
    late = [asyncio.create_task(stage.claim(SID, each)) for each in ("ann", "bob")]
    other = asyncio.create_task(stage.claim("m3", "ann"))
    while stage.store.under_way["all"] < 2:  # noqa: ASYNC110 - a condition is no event
        await asyncio.sleep(0)
    stage.desk.give_up(SID, before=0.0)  # they joined after that
    assert not any(each.done() for each in late)
    stage.desk.give_up(SID, math.inf)
    for each in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(each, Fenced)
    stage.store.gate.set()
    assert (await other).outcome == "new"
    assert [each.customer_id for each in stage.recent_claims.lately(SID)] == ["zoe"]
    assert (await stage.claim(SID, "cyd")).outcome == "new"
    assert stage.heard.outcomes == {"new": 3, "recovering": 2}


async def test_a_link_on_the_spot_is_not_answered_after_the_fence_fell(stage: Stage) -> None:
    """It may have been bound before the fall; the customer comes back."""
    stage.store.stock = 0
    waiting = asyncio.create_task(stage.claim(SID, "ann"))
    while not stage.on_demand.asked:  # noqa: ASYNC110 - a condition is no event
        await asyncio.sleep(0)
    stage.desk.give_up(SID, math.inf)
    with pytest.raises(Fenced):
        await waiting
    assert stage.recent_claims.lately(SID) == []
    assert (await stage.claim(SID, "ann")).outcome == "direct"


async def test_a_meeting_redis_has_lost_is_published_again(stage: Stage) -> None:
    """It is published once; the claims are then served by the same call."""
    stage.store.published.lost = True
    assert slug_of((await stage.claims("ann"))[0]) == "a-0"
    assert stage.store.published.put_again == [SID]
    stage.store.published.lost = stage.store.published.loses_again = True
    [answer] = await stage.claims("bob")
    assert isinstance(answer, UnknownMeeting)
    assert stage.store.published.put_again == [SID, SID]


async def test_an_unknown_meeting_is_refused_without_asking_redis(stage: Stage) -> None:
    """There is nothing there to claim."""
    with pytest.raises(UnknownMeeting):
        await stage.claim("nothing", "ann")
    assert stage.store.calls == []


async def test_an_empty_pool_leads_to_a_link_on_demand(stage: Stage) -> None:
    """Once for each customer, however many requests wait for the answer."""
    stage.store.stock = 1
    answers = await stage.claims("ann", "bob", "bob", "cyd")
    assert stage.on_demand.asked == ["bob", "cyd"]
    assert [slug_of(each) for each in answers] == ["a-0", "a-9001", "a-9001", "a-9002"]
    assert stage.heard.outcomes == {"new": 1, "direct": 2, "reused": 1}
    assert {answered.claim.slug for answered in stage.recent_claims.lately(SID)} == {
        "a-0",
        "a-9001",
        "a-9002",
    }


async def test_a_link_bound_by_somebody_else_meanwhile_is_not_ours_to_assert(
    stage: Stage,
) -> None:
    """It is answered as one they held before."""
    stage.store.stock = 0
    stage.on_demand.made = False
    receipt = await stage.claim(SID, "ann")
    assert receipt.reused
    assert stage.recent_claims.lately(SID) == []
    assert ("claimed", SID) not in stage.heard.told


@pytest.mark.parametrize(
    ("error", "expected", "outcome"),
    [
        (PoolEmpty("empty", retry_after_seconds=7), PoolEmpty, "empty"),
        (PoolPaused("paused"), PoolPaused, "paused"),
        (Fenced(SID), Fenced, "recovering"),
        (StoreUnavailable("gone"), StoreUnavailable, "error"),
        (LedgerUnavailable("gone"), LedgerUnavailable, "error"),
        (RuntimeError("oh"), PoolEmpty, "empty"),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Exception) else "",
)
async def test_what_asking_on_demand_comes_to_is_answered(
    stage: Stage, error: Exception, expected: type[Exception], outcome: str
) -> None:
    """Typed and counted; a mistake of ours is an empty pool to the visitor."""
    stage.store.stock = 0
    stage.on_demand.error = error
    [answer] = await stage.claims("ann")
    assert type(answer) is expected
    assert stage.heard.outcomes == {outcome: 1}
    assert (("fenced", SID) in stage.heard.told) is isinstance(error, Fenced)


async def test_a_slow_link_on_demand_does_not_hold_up_the_desk(stage: Stage) -> None:
    """Those who hold a link are answered while links are made for others."""
    gate = asyncio.Event()
    make_and_bind = stage.on_demand.make_and_bind

    async def slow(*args: Any) -> tuple[Claim, bool]:
        await gate.wait()
        return await make_and_bind(*args)

    await stage.claims("ann")
    stage.store.stock = 0
    stage.on_demand.make_and_bind = slow  # type: ignore[method-assign]
    bob = asyncio.create_task(stage.claim(SID, "bob"))
    await asyncio.sleep(0.01)
    assert (await stage.claim(SID, "ann")).reused
    assert not bob.done()
    assert len(stage.desk._makings) == 1  # the loop itself holds no task
    gate.set()
    assert (await bob).outcome == "direct"
    await asyncio.sleep(0)
    assert not stage.desk._makings


async def test_a_paused_meeting_says_why(stage: Stage) -> None:
    """A customer who holds a link gets it; others are asked to come back later."""
    await stage.claims("ann")
    stage.store.paused = True
    ann, bob = await stage.claims("ann", "bob")
    assert slug_of(ann) == "a-0"
    assert isinstance(bob, PoolPaused)
    assert "holiday" in str(bob)
    assert bob.retry_after_seconds == 30
    assert stage.heard.outcomes == {"new": 1, "reused": 1, "paused": 1}


async def test_a_limited_caller_gets_only_what_is_held(stage: Stage) -> None:
    """The script is not given what it would need to bind a new link."""
    await stage.claims("ann")
    assert (await stage.claim(SID, "ann", limited=True)).reused
    with pytest.raises(RateLimited):
        await stage.claim(SID, "bob", limited=True)
    assert stage.store.calls[-1][1][0][1] == b""
    assert stage.store.stock == 1_000_000 - 1


async def test_one_caller_who_is_not_limited_is_enough(stage: Stage) -> None:
    """A customer who also comes by an unlimited way is served by the same entry."""
    limited, free = await asyncio.gather(
        stage.claim(SID, "ann", limited=True),
        stage.claim(SID, "ann"),
        return_exceptions=True,
    )
    assert slug_of(limited) == slug_of(free) == "a-0"
    assert stage.store.sizes() == [1]


async def test_new_links_are_announced_and_remembered(stage: Stage) -> None:
    """The recorder is nudged once a call; links held before are no news."""
    await stage.claims("ann", "bob")
    assert stage.heard.told == [("claimed", SID)]
    kept = {answered.customer_id: answered for answered in stage.recent_claims.lately(SID)}
    assert set(kept) == {"ann", "bob"}
    assert kept["ann"].claim.slug == "a-0"
    assert kept["ann"].ttl_ms == Meeting(SID).claim_ttl_seconds * 1_000
    assert kept["ann"].payload == stage.store.calls[0][1][0][1]
    await stage.claims("ann")
    assert stage.heard.told == [("claimed", SID)]
    assert len(stage.recent_claims.lately(SID)) == 2


@pytest.mark.parametrize("limited", [False, True])
async def test_a_link_bound_a_moment_ago_is_remembered_too(stage: Stage, limited: bool) -> None:
    """The call that bound it may have lost its reply, so that only this answer was ever given."""
    now_ms = round(time.time() * 1000)
    lately = msgspec.structs.replace(made(1), claimed_at_ms=now_ms - 3_000)
    long_ago = msgspec.structs.replace(made(2), claimed_at_ms=now_ms - 60_000)
    booked = msgspec.structs.replace(made(3), claimed_at_ms=now_ms, state="consumed")
    for who, claim in (("ann", lately), ("bob", long_ago), ("cyd", booked)):
        stage.store.bound[stage.store.names.name(SID, who)] = claim
        assert (await stage.desk.claim(SID, who, limited=limited)).reused
    [kept] = stage.recent_claims.lately(SID)
    assert (kept.customer_id, kept.claim) == ("ann", lately)
    assert msgspec.msgpack.decode(kept.payload) == ["ann"]
    assert stage.heard.told == []


async def test_a_low_pool_is_announced(stage: Stage) -> None:
    """The desk announces it when the script says so."""
    await stage.claims("ann")
    stage.store.nudge = True
    await stage.claims("bob")
    assert stage.heard.told.count(("low", SID)) == 1


async def test_closing_waits_for_calls_and_links_under_way(stage: Stage) -> None:
    """Every accepted claim is answered."""
    stage.store.stock = 1
    tasks = [asyncio.create_task(stage.claim(SID, who)) for who in ("ann", "bob")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await stage.desk.close()
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True]


def test_a_receipt_says_whether_the_link_was_held_before() -> None:
    """Links made on the spot are new, too."""
    receipt = Receipt(Meeting(SID), made(1), "direct")
    assert not receipt.reused
    assert msgspec.structs.replace(receipt, outcome="reused").reused


async def test_an_unlimited_request_stays_so_when_a_limited_one_joins(stage: Stage) -> None:
    """In whichever order they come."""
    free, limited = await asyncio.gather(
        stage.claim(SID, "ann", "a@x.test"), stage.claim(SID, "ann", limited=True)
    )
    assert free.claim == limited.claim
    [(_, [(_, payload)])] = stage.store.calls
    assert msgspec.msgpack.decode(payload) == ["ann", "a@x.test"]


async def test_a_link_made_on_the_spot_is_announced_to_the_recorder(stage: Stage) -> None:
    """As one from the pool is; it is asserted again with all it needs."""
    stage.store.stock = 0
    assert (await stage.claim(SID, "ann", "a@x.test")).outcome == "direct"
    assert stage.heard.told == [("claimed", SID)]
    [kept] = stage.recent_claims.lately(SID)
    assert kept.ttl_ms == Meeting(SID).claim_ttl_seconds * 1_000
    assert msgspec.msgpack.decode(kept.payload) == ["ann", "a@x.test"]


async def test_a_link_that_another_process_has_just_bound_is_remembered(stage: Stage) -> None:
    """That process may have lost the reply."""
    stage.store.stock = 0
    stage.on_demand.made = False
    now_ms = round(time.time() * 1000)
    just_bound = msgspec.structs.replace(made(7), claimed_at_ms=now_ms - 3_000)

    async def elsewhere(*_: Any) -> tuple[Claim, bool]:
        return just_bound, False

    stage.on_demand.make_and_bind = elsewhere  # type: ignore[method-assign]
    assert (await stage.claim(SID, "ann")).reused
    assert [each.claim for each in stage.recent_claims.lately(SID)] == [just_bound]
    assert stage.heard.told == []


async def test_a_claim_of_another_part_can_be_asserted_again(stage: Stage) -> None:
    """Replacing a link answers one, too."""
    meeting = Meeting("m3", claim_ttl_seconds=7)
    stage.desk.remember(meeting, "ann", made(5), b"all of it")
    [kept] = stage.recent_claims.lately("m3")
    assert (kept.customer_id, kept.claim, kept.ttl_ms, kept.payload) == (
        "ann", made(5), 7_000, b"all of it",
    )  # fmt: skip


async def test_a_temporary_refusal_says_for_how_long(stage: Stage) -> None:
    """A limit is over sooner than a pause; a closed meeting says what the provider says."""
    with pytest.raises(RateLimited) as limited:
        await stage.claim(SID, "bob", limited=True)
    assert limited.value.retry_after_seconds == 10
    stage.store.paused = True
    meetings = {
        "m1": Meeting("m1", closed_reason="it is disabled there"),
        "m2": Meeting("m2", closed_reason="it is disabled there", paused=True, pause_reason="fair"),
        "m3": Meeting("m3", paused=True),
    }
    said = {}
    for sid, meeting in meetings.items():
        stage.desk._known_meetings.put(meeting)
        with pytest.raises(PoolPaused) as refused:
            await stage.claim(sid, "bob")
        assert refused.value.retry_after_seconds == 30
        said[sid] = str(refused.value)
    assert said == {
        "m1": "claims of this meeting are closed: it is disabled there",
        "m2": "claims of this meeting are paused: fair",
        "m3": "claims of this meeting are paused",
    }


async def test_nothing_is_kept_of_meetings_that_nobody_claims_from(stage: Stage) -> None:
    """Neither lines nor calls, also after errors."""
    stage.store.script = [ValueError("oh"), LOST]
    for number in range(5):
        await asyncio.gather(
            *(stage.claim(f"m{m}", f"c{number}") for m in range(20)), return_exceptions=True
        )
    await stage.desk.close()
    assert stage.desk._lines == {}
    assert len(stage.desk._calls) == 0
    assert stage.desk._waiting == 0


async def test_a_call_that_is_given_up_is_ended(make_stage: MakeStage) -> None:
    """Its late reply would answer nobody, and hold a connection."""
    stage = make_stage(timeout_seconds=0.1)
    stage.store.gate = asyncio.Event()
    [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert "in time" in str(answer)
    async with asyncio.timeout(5):
        while stage.store.under_way["all"]:  # noqa: ASYNC110 - a condition is no event
            await asyncio.sleep(0.001)
    stage.store.gate.set()
    await asyncio.sleep(0)
    assert stage.heard.outcomes == {"error": 1}
    assert stage.heard.batches == [1]


async def test_a_call_that_cannot_even_begin_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever, and the next claim is served."""
    with monkeypatch.context() as broken:

        def fail(*_: Any) -> None:
            raise ValueError("oh")

        broken.setattr(stage.store, "claim_at_once", fail)
        [answer] = await stage.claims("ann")
    assert isinstance(answer, StoreUnavailable)
    assert "ValueError" in str(answer)
    assert slug_of((await stage.claims("bob"))[0]) == "a-0"


async def test_each_outcome_is_counted_at_its_meeting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever serves it: the pool, the provider on the spot, or nobody."""
    await stage.claim("m1", "ann")
    stage.store.stock = 0
    await stage.claim("m2", "bob")
    stage.on_demand.error = PoolEmpty("none left")
    with pytest.raises(PoolEmpty):
        await stage.claim("m3", "cyd")
    monkeypatch.setattr(pool.claims.desk, "WAITING_LIMIT", 0)
    with pytest.raises(StoreUnavailable):
        await stage.claim("m4", "dan")
    assert stage.heard.outcomes_at == {
        ("m1", "new"): 1, ("m2", "direct"): 1, ("m3", "empty"): 1, ("m4", "error"): 1
    }  # fmt: skip


async def test_a_turn_of_the_loop_sends_all_that_is_ready(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many claims come in it, and however many calls end in it."""
    sent, pump = list[int](), stage.desk._pump

    def counted() -> None:
        sent.append(len(stage.desk._ready))
        pump()

    monkeypatch.setattr(stage.desk, "_pump", counted)
    sids = [f"m{n}" for n in range(20)]
    monkeypatch.setattr(pool.claims.desk, "CALLS_AT_ONCE", 10)
    for sid in sids:
        await stage.claim(sid, "first")
    sent.clear()
    stage.store.gate = asyncio.Event()
    claims = asyncio.gather(*(stage.claim(sid, "ann") for sid in sids))
    while stage.store.under_way["all"] < 10:  # noqa: ASYNC110 - a condition is no event
        await asyncio.sleep(0)
    assert sent == [20]
    stage.store.gate.set()
    await claims
    assert 0 not in sent


@pytest.mark.parametrize(("deadline", "ended"), [(5.0, True), (5.001, False)])
async def test_a_call_has_its_time_to_the_instant(deadline: float, ended: bool) -> None:
    """Also the one that has none left when its turn comes."""
    clock, ends = [0.0], list[Batch | Exception]()
    store: Any = FakeStore(ready=True)
    store.gate = asyncio.Event()
    known = KnownMeetings(store, FakeLedger(SID))  # type: ignore[arg-type]
    calls = ScriptCalls(store, known, lambda: clock[0], lambda _, result: ends.append(result))
    batch = [Waiting("name", "ann", 0.0)]
    calls.begin(ScriptCall(Line(SID, SID), batch, deadline))
    clock[0] = 5.0
    calls._ring()
    assert [str(each) for each in ends] == ["Redis did not answer in time"] * ended
    assert len(calls) == (not ended)
    store.ready = False
    if ended:
        calls.begin(ScriptCall(Line(SID, SID), batch, deadline))
        while len(calls):  # noqa: ASYNC110 - a condition is no event
            await asyncio.sleep(0)
        assert len(ends) == 2
        assert len(store.calls) <= 1
    store.gate.set()
    while len(calls):  # noqa: ASYNC110 - a condition is no event
        await asyncio.sleep(0)


async def test_a_meeting_stands_in_line_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come to it while it waits for its turn; the others get theirs."""
    monkeypatch.setattr(pool.claims.desk, "CALLS_AT_ONCE", 1)
    await stage.claims("first")
    await stage.claim("m1", "first")
    stage.store.calls.clear()
    stage.store.gate = asyncio.Event()
    claims = [stage.claim(SID, f"c{n}") for n in range(3 * BATCH_LIMIT)]
    crowd = asyncio.gather(*claims)
    while not stage.store.under_way["all"]:  # noqa: ASYNC110 - a condition is no event
        await asyncio.sleep(0)
    later = asyncio.gather(stage.claim(SID, "late"), stage.claim("m1", "bob"))
    for _ in range(5):
        await asyncio.sleep(0)
    stage.store.gate.set()
    await crowd
    await later
    assert [sid for sid, _ in stage.store.calls] == [SID, SID, "m1", SID, SID]


async def test_a_call_without_a_reply_is_made_again_after_pauses_that_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To a fifth of a second, so that claims go on soon after Redis is back."""
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    class Lost:
        left = 7

        async def claim(self, _sid: str, _customers: object) -> str:
            self.left -= 1
            if self.left >= 0:
                raise StoreUnavailable("gone", connection_lost=True)
            return "answered"

    monkeypatch.setattr(asyncio, "sleep", rest)
    store: Any = Lost()
    calls = ScriptCalls(store, store, lambda: 0.0, lambda *_: None)
    call = ScriptCall(Line(SID, SID), [Waiting("n", "ann", 0.0)], 60.0)
    assert await calls._ask(call) == "answered"
    assert rests == pytest.approx([0.0, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2])
