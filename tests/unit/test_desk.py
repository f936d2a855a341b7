"""Test the desk: batches, fairness, visitors who leave, and a Redis that is slow or gone."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

import pool.claims.desk
from pool.claims.desk import CALLS_AT_ONCE, CALLS_PER_MEETING, WORTH_A_CALL
from pool.claims.queue import Receipt
from pool.errors import (
    StoreUnavailable,
)
from pool.store.records import BATCH_LIMIT
from tests.unit.desk_stage import (  # noqa: F401 - fixtures
    LOST,
    SID,
    MakeStage,
    Stage,
    check_defect,
    open_stage,
    open_stages,
    slug_of,
)

# -- batches -------------------------------------------------------------------------


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
    """Claims gather while a call is under way, and then go in one call."""
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
    """It leaves once enough customers wait for the first to return; a third never does."""
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
    """The claim carries customer id, e-mail and metadata."""
    await stage.claim(SID, "ann", "ann@example.com", {"lead": 1})
    [(_, [(name, payload)])] = stage.store.calls
    assert name == stage.store.names.name(SID, "ann")
    assert msgspec.msgpack.decode(payload) == ["ann", "ann@example.com", {"lead": 1}]


# -- waiters that leave --------------------------------------------------------------


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
    """Once the call has returned, customers who left do not count as waiting."""
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
    await check_defect(stage)


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
