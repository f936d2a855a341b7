"""Test the answers that a desk gives in each state of a meeting, and the events it reports."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec
import pytest

import pool.claims.desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.queue import Line, Receipt, Waiting
from pool.claims.script_calls import ScriptCall, ScriptCalls
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
from pool.store.records import BATCH_LIMIT, Batch
from tests.unit.desk_stage import (  # noqa: F401 - fixtures
    LOST,
    SID,
    FakeLedger,
    FakeStore,
    MakeStage,
    Stage,
    check_defect,
    made,
    open_stage,
    open_stages,
    slug_of,
)


async def test_a_fallen_fence_is_reported(stage: Stage) -> None:
    """All waiting customers get the error, and the listener one event per call."""
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
    """Such a meeting has no pool."""
    with pytest.raises(UnknownMeeting):
        await stage.claim("nothing", "ann")
    assert stage.store.calls == []


async def test_an_empty_pool_leads_to_a_link_on_demand(stage: Stage) -> None:
    """One link is made for each customer, however many requests wait for it."""
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
    """It is answered as one that the customer held before."""
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
async def test_each_outcome_of_a_link_on_demand_is_answered(
    stage: Stage, error: Exception, expected: type[Exception], outcome: str
) -> None:
    """Errors are typed and counted, and a defect is an empty pool to the visitor."""
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
    """The order of the two does not matter."""
    free, limited = await asyncio.gather(
        stage.claim(SID, "ann", "a@x.test"), stage.claim(SID, "ann", limited=True)
    )
    assert free.claim == limited.claim
    [(_, [(_, payload)])] = stage.store.calls
    assert msgspec.msgpack.decode(payload) == ["ann", "a@x.test"]


async def test_a_link_made_on_the_spot_is_announced_to_the_recorder(stage: Stage) -> None:
    """It is announced like one from the pool, and kept with everything needed to assert it
    again.
    """
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
    """Neither lines nor calls are kept, also after errors."""
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
    """The customer gets a typed error, and the next claim is served."""
    with monkeypatch.context() as broken:

        def fail(*_: Any) -> None:
            raise ValueError("oh")

        broken.setattr(stage.store, "claim_at_once", fail)
        await check_defect(stage, broken.undo)


async def test_each_outcome_is_counted_at_its_meeting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link comes from the pool, from the provider on the spot, or not at all."""
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
    """It sends once, however many claims come and calls end in it."""
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
    """That includes a call that has no time left when its turn comes."""
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
    """It does so however many claims come while it waits, and other meetings get their turn."""
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
    """They grow to a fifth of a second, so that claims resume soon after Redis is back."""
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
