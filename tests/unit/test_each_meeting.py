"""Test that one bad meeting stops no other's recording, recovery or expiry, and that unreadable
entries are kept.
"""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from pool.alerting.rules import pool_readings
from pool.errors import LedgerUnavailable, StoreUnavailable
from pool.model.links import State
from pool.model.troubles import Kind
from pool.nudges import RECORD, RECOVER, TOP_UP
from pool.operations.administration import Administration
from pool.operations.status import statuses
from pool.store import key_names
from pool.store.records import payload
from tests.in_process import InProcess
from tests.set_aside import SetAside, all_set_aside
from worker.each import AWAY, each
from worker.expire import expire
from worker.record import record
from worker.recover import recover
from worker.sweep import sweep

UNREADABLE: dict[str, dict[bytes, bytes]] = {
    "no fields that are known": {b"x": b"1"},
    "no slugs": {b"c": b"\xdc\x00\x01\x91\xa3ann"},
    "no MessagePack": {b"s": b"one-off-1", b"c": b"\xc1"},
    "fewer customers than slugs": {b"s": b"one-off-1 one-off-2", b"c": b"\xdc\x00\x01\x91\xa3ann"},
    "a customer without id": {b"s": b"one-off-1", b"c": b"\xdc\x00\x01\x91\x07"},
    "slugs that are no text": {b"s": b"\xff\xfe", b"c": b"\xdc\x00\x01\x91\xa3ann"},
    "a time that is none": {b"s": b"one-off-1", b"c": b"\xdc\x00\x01\x91\xa3ann", b"a": b"soon"},
}


@pytest.mark.parametrize("fields", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_entry_that_cannot_be_read_is_kept_and_the_stream_goes_on(
    product: InProcess, fields: dict[bytes, bytes]
) -> None:
    """The claims before and behind it are recorded, in its meeting and in others."""
    await product.meeting("bad")
    await product.meeting("good")
    await product.stock("bad", "bad-1", "bad-2")
    await product.stock("good", "good-1")
    assert await product.claim("bad", "ann") == ["bad-1"]
    anything: Any = fields
    entry_id = await product.redis.bare.xadd(key_names.claims("bad"), anything)
    assert await product.claim("bad", "ben") == ["bad-2"]
    assert await product.claim("good", "ann") == ["good-1"]
    assert await record(product.parts, None) == 3
    assert {await product.state(slug) for slug in ("bad-1", "bad-2", "good-1")} == {State.CLAIMED}
    [kept] = await all_set_aside(product.store)
    assert isinstance(kept, SetAside)
    assert (kept.sid, kept.entry_id, kept.fields) == ("bad", entry_id.decode(), fields)
    assert "one-off" not in kept.reason
    assert await product.store.set_aside.counts() == {"bad": 1}
    assert (await product.level("bad")).backlog == 0


async def test_a_stream_of_nothing_but_unreadable_entries_runs_empty(product: InProcess) -> None:
    """The stream may hold any number of them."""
    await product.meeting("bad")
    for _ in range(150):
        await product.redis.bare.xadd(key_names.claims("bad"), {b"x": b"1"})
    assert await record(product.parts, None) == 0
    assert await product.redis.bare.xlen(key_names.claims("bad")) == 0
    assert await product.store.set_aside.counts() == {"bad": 150}


async def test_a_claim_that_the_ledger_takes_in_no_form_is_kept(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its batch are recorded."""
    await product.meeting("bad")
    await product.stock("bad", "bad-1", "bad-2")
    await product.claim("bad", "ann", "ben")
    links, write = product.ledger.links, product.ledger.links.record

    async def picky(claims: Any) -> Any:
        if any(claim.slug == "bad-1" for claim in claims):
            raise ValueError("not this one")
        return await write(claims)

    monkeypatch.setattr(links, "record", picky)
    with capture_logs() as lines:
        await record(product.parts, "bad")
    assert await product.state("bad-2") is State.CLAIMED
    [kept] = await all_set_aside(product.store)
    assert (kept.sid, kept.entry_id) == ("bad", "recorded-bad-1")
    assert kept.fields == {b"s": b"bad-1", b"c": payload("ann")}
    assert kept.reason == "the ledger does not take it (ValueError)"
    assert (await product.level("bad")).backlog == 0
    told = [(each["event"], each["meeting"], each["exc_info"]) for each in lines]
    assert told == [
        ("claims not recorded together", "bad", True),
        ("a claim is recorded without e-mail and metadata", "bad", True),
        ("a claim is set aside: the ledger takes it in no form", "bad", True),
    ]


async def test_a_claim_whose_words_the_ledger_does_not_take_is_kept_without_them(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-mail and metadata are left out; the claim is recorded, and nothing is set aside."""
    await product.meeting("bad")
    await product.stock("bad", "bad-1", "bad-2")
    for who in ("ann", "ben"):
        name = product.store.names.name("bad", who)
        document = payload(who, f"{who}@x.test", {"order": 7})
        await product.store.claim("bad", [(name, document)])
    links, write = product.ledger.links, product.ledger.links.record

    async def picky(claims: Any) -> Any:
        if any(claim.slug == "bad-1" and (claim.email or claim.metadata) for claim in claims):
            raise ValueError("not these words")
        return await write(claims)

    monkeypatch.setattr(links, "record", picky)
    await record(product.parts, "bad")
    kept = [await product.ledger.links.get(slug) for slug in ("bad-1", "bad-2")]
    assert [each and (each.customer_id, each.email, each.metadata) for each in kept] == [
        ("ann", None, None),
        ("ben", "ben@x.test", {"order": 7}),
    ]
    assert await all_set_aside(product.store) == []


async def fail_for(
    product: InProcess, monkeypatch: pytest.MonkeyPatch, sid: str, error: Exception
) -> None:
    """Make recording of one meeting's stream fail from now on."""
    recorder, real = product.parts.recorder, product.parts.recorder.record_pool

    async def failing(pool: str) -> int:
        if pool == sid:
            raise error
        return await real(pool)

    monkeypatch.setattr(recorder, "record_pool", failing)


async def test_a_meeting_that_cannot_be_recorded_is_reported_and_passed_by(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next in line is recorded all the same."""
    for sid in ("a-bad", "good"):
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1")
        await product.claim(sid, "ann")
    await fail_for(product, monkeypatch, "a-bad", RuntimeError("a defect"))
    await record(product.parts, None)
    assert await product.state("good-1") is State.CLAIMED
    failures = product.metric("linkpool_meeting_failures_total", task="record", meeting="a-bad")
    assert failures == 1


async def test_a_meeting_that_cannot_be_recovered_is_reported_and_passed_by(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others serve again."""
    monkeypatch.setattr("worker.recover.GRACE_SECONDS", 0.0)
    for sid in ("a-bad", "good"):
        await product.meeting(sid)
        await product.stock(sid, f"{sid}-1")
    await product.redis.restart()
    await fail_for(product, monkeypatch, "a-bad", RuntimeError("a defect"))
    assert await recover(product.parts) == {"default"}
    assert (await product.level("good")).fence == "stands"
    assert (await product.level("a-bad")).fence == "fallen"
    failures = product.metric("linkpool_meeting_failures_total", task="recover", meeting="a-bad")
    assert failures == 1


async def test_a_meeting_that_cannot_be_expired_is_reported_and_passed_by(
    product: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old links of the others are retired."""
    for sid in ("a-bad", "good"):
        await product.meeting(sid, max_fresh_age_seconds=60)
        now_ms = (await product.level(sid)).now_ms
        await product.stock(sid, f"{sid}-1", made_at_ms=now_ms - 3_600_000)
    take_out = product.parts.store.stock.take_out

    async def failing(sid: str, **how: Any) -> list[str]:
        if sid == "a-bad":
            raise RuntimeError("a defect")
        return await take_out(sid, **how)

    monkeypatch.setattr(product.parts.store.stock, "take_out", failing)
    await expire(product.parts)
    assert await product.state("good-1") is State.RETIRED
    failures = product.metric("linkpool_meeting_failures_total", task="expire", meeting="a-bad")
    assert failures == 1


@pytest.mark.parametrize(
    "error", [StoreUnavailable("Redis: away", is_outage=True), LedgerUnavailable("away")]
)
async def test_what_is_away_for_meeting_after_meeting_is_not_waited_for_each_time(
    product: InProcess, error: Exception
) -> None:
    """Thousands of time-outs would keep the worker from everything else."""
    tried: list[str] = []

    async def work(sid: str) -> None:
        tried.append(sid)
        raise error

    with pytest.raises(type(error)):
        await each(product.parts, "record", [f"m{n}" for n in range(1_000)], work)
    assert len(tried) == AWAY


async def test_what_is_away_now_and_then_ends_nothing(product: InProcess) -> None:
    """Three meetings of many that time out are three meetings."""

    async def work(sid: str) -> None:
        if int(sid) % 2:
            raise StoreUnavailable("Redis: away", is_outage=True)

    failed = await each(product.parts, "record", [str(n) for n in range(10)], work)
    assert failed == ["1", "3", "5", "7", "9"]


async def test_what_redis_refuses_of_one_meeting_after_the_other_ends_nothing(
    product: InProcess,
) -> None:
    """Their keys are at fault; Redis is there."""

    async def work(sid: str) -> None:
        if int(sid) < 9:
            raise StoreUnavailable("Redis: WRONGTYPE")

    failed = await each(product.parts, "record", [str(n) for n in range(10)], work)
    assert failed == [str(n) for n in range(9)]


@pytest.mark.parametrize("name", ["epoch", "fresh", "claims", "demand", "block", "meeting"])
async def test_a_meeting_whose_keys_cannot_be_read_stops_no_other(
    product: InProcess, name: str
) -> None:
    """Every task goes on with the others; the meeting is reported to operators."""
    for sid in ("bad", "good", "fallen"):
        await product.meeting(sid, min_fresh=2, max_fresh=2)
    await product.stock("good", "good-1")
    await product.claim("good", "ann")
    await product.redis.bare.delete(key_names.epoch("fallen"))
    key = getattr(key_names, name)("bad")
    await product.redis.bare.delete(key)
    await product.redis.bare.sadd(key, "of another type")
    with capture_logs() as logs:
        due = {task for task, _ in await sweep(product.parts)}
    said = [log["reason"] for log in logs if log.get("meeting") == "bad" and "reason" in log]
    assert len(said) == 1
    assert "WRONGTYPE" in said[0]
    assert {RECORD, RECOVER, TOP_UP} <= due
    failures = product.metric("linkpool_meeting_failures_total", task="sweep", meeting="bad")
    assert failures == 1
    assert await record(product.parts, None) == 1
    await recover(product.parts)
    assert (await product.level("fallen")).fence == "stands"
    await product.top_up()
    assert len(await product.pooled("good")) == 2
    assert "bad" not in product.provider.asked
    await expire(product.parts)
    meetings = await product.ledger.meetings.all()
    found = {each.meeting.sid: each for each in await statuses(product.store, None, meetings)}
    assert (found["bad"].state, "WRONGTYPE" in found["bad"].reason) == ("blocked", True)
    assert found["good"].state == "ok"
    levels = await product.store.look(["bad"])
    [bad] = [each for each in meetings if each.sid == "bad"]
    readings = [*pool_readings({"bad": bad}, levels, {"bad": 2}, set())]
    assert [(each.kind, each.sign) for each in readings] == [(Kind.BLOCKED, "there")]
    assert "good" in await product.parts.recovery.seal(["bad", "good"])


async def test_a_drain_is_bound_by_no_clock_of_ours(product: InProcess) -> None:
    """A worker whose clock runs ahead made these links; a drain retires them all the same."""
    await product.meeting("intro")
    now_ms = (await product.level("intro")).now_ms
    await product.stock("intro", "one-off-1", "one-off-2", made_at_ms=now_ms + 3_600_000)
    administration = Administration(
        product.store, product.ledger, product.parts.recorder, product.parts.recovery,
        product.parts.settings,
    )  # fmt: skip
    _, retired = await administration.drain("intro", "", "a test")
    assert retired == 2
    assert await product.pooled("intro") == []
    assert await product.state("one-off-2") is State.RETIRED
