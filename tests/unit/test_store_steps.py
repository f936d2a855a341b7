"""Test the store's small steps: names, blocks, replies, ages of stock, and errors of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pool.errors import Fenced, LedgerUnavailable, StoreUnavailable, UnknownMeeting, is_away
from pool.model.links import Booked, Claim
from pool.model.meetings import Meeting
from pool.store import key_names
from pool.store.bindings import CustomerNames, pack, unpack
from pool.store.claims_stream import ClaimsStream, Unreadable, streamed
from pool.store.connect import run_each, store_error, store_errors
from pool.store.published import digest
from pool.store.records import Block, Level, Totals, payload
from pool.store.replies import as_batch, as_level, as_replacing, expect, fence_of
from tests.any_redis import AnyRedis
from tests.in_process import InProcess
from tests.unit.store_contract import SID, open_pool

# -- names and bindings -------------------------------------------------------------------


def test_names_tell_meetings_customers_and_keys_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen characters each, the same in every process; memory for meetings is bounded."""
    monkeypatch.setattr("pool.store.bindings._BEGUN_KEPT", 3)
    one, again, other = CustomerNames(b"k"), CustomerNames(b"k"), CustomerNames(b"other")
    named = {(sid, who): one.name(sid, who) for sid in "abcdefg" for who in ("x", "y", "zo\u00eb")}
    assert len(set(named.values())) == len(named)
    assert {len(name) for name in named.values()} == {16}
    assert named == {(sid, who): again.name(sid, who) for sid, who in named}
    assert len(one._begun) <= 3
    assert not set(named.values()) & {other.name(sid, who) for sid, who in named}
    assert one.name("a", "bc") != one.name("ab", "c")
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 16


def test_addresses_that_are_the_same_have_one_hash() -> None:
    """Different addresses and other keys give other hashes."""
    names = CustomerNames(b"k")
    assert names.email_name("Ann@X.test") == names.email_name(" ann@x.TEST")
    assert len({names.email_name(each) for each in ("a@x.test", "b@x.test", "a@y.test")}) == 3
    assert names.email_name("a@x.test") != CustomerNames(b"other").email_name("a@x.test")
    assert len(names.email_name("\ud800@x.test")) == 32


@pytest.mark.parametrize(
    ("claim", "packed"),
    [
        (Claim("a-1", "claimed", "pool", 5), "cp5:a-1"),
        (Claim("a-1", "claimed", "direct", 5), "cd5:a-1"),
        (Claim("a-1", "consumed", "pool", 5), "xp5:a-1:0:"),
        (Claim("a-1", "consumed", "direct", 5, 7, "b:1"), "xd5:a-1:7:b:1"),
        (
            Claim("a-1", "consumed", "pool", 5, 7, "b", Booked("b", "pending")),
            "xp5:a-1:7:b\x1fpending\x1f\x1f\x1f\x1f",
        ),
        (
            Claim("a-1", "consumed", "pool", 5, 7, "b", Booked("b", "no_show", 1, 2, "UTC", "u")),
            "xp5:a-1:7:b\x1fno_show\x1f1\x1f2\x1fUTC\x1fu",
        ),
    ],
)
def test_a_binding_has_the_form_that_scripts_read(claim: Claim, packed: str) -> None:
    """It is packed and read again."""
    assert pack(claim) == packed
    assert unpack(packed) == claim


# -- the stream's entries -------------------------------------------------------------------


def entry(*customers: bytes, **fields: bytes) -> dict[bytes, bytes]:
    """Return an entry's fields, as lua/stream.lua writes them."""
    array = b"\xdc" + len(customers).to_bytes(2) + b"".join(customers)
    return {b"c": array} | {name.encode(): value for name, value in fields.items()}


def test_an_entry_says_all_of_its_claims() -> None:
    """Slugs in full, when they were claimed, and by which way."""
    ann, ben = payload("ann", "a@x.test", {"n": 1}), payload("ben")
    first, second = streamed(b"1700-3", entry(ann, ben, s=b"one-off-1~2"))
    assert (first.slug, second.slug) == ("one-off-1", "one-off-2")
    assert (first.customer_id, first.email, first.metadata) == ("ann", "a@x.test", {"n": 1})
    assert (second.customer_id, second.email, second.metadata) == ("ben", None, None)
    for each in (first, second):
        assert (each.entry_id, each.source, each.claimed_at_ms) == ("1700-3", "pool", 1700)
        assert (each.replaces, each.reason) == (None, "")
    [made] = streamed(b"1700-3", entry(ben, s=b"a", d=b"1", a=b"9", r=b"old", w=b"burnt"))
    assert (made.source, made.claimed_at_ms, made.replaces, made.reason) == (
        "direct", 9, "old", "burnt",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"s": b"a"},
        entry(payload("ann"), s=b"a b"),
        entry(payload("ann"), payload("ben"), s=b"a"),
        entry(payload("ann"), s=b"\xff"),
        entry(b"\xc1", s=b"a"),
        entry(payload("ann"), s=b"a", a=b"soon"),
    ],
)
def test_an_entry_of_another_form_is_unreadable(fields: dict[bytes, bytes]) -> None:
    """The reason quotes nothing of it."""
    with pytest.raises(Unreadable, match=r"^it cannot be read \(\w+\)$"):
        streamed(b"1-1", fields)


# -- replies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "fence"),
    [
        ("run:repl:nonce", "stands"),
        ("run:repl:", "stands"),
        ("run:repl", "fallen"),
        ("run:other:nonce", "fallen"),
        ("other:repl:nonce", "fallen"),
        ("", "fallen"),
        ("sealed:token:run:repl", "sealed"),
        ("sealed:token:run:other", "fallen"),
        ("sealed:token", "fallen"),
        ("unsealed:token:run:repl", "fallen"),
    ],
)
def test_a_fence_stands_on_the_server_it_was_set_on(epoch: str, fence: str) -> None:
    """A sealed one is recognised there, too."""
    assert fence_of(epoch, "run:repl") == fence


def test_a_level_is_read_field_by_field() -> None:
    """A field that is not there is None, and no time is negative."""
    block = Block("r", 1, 2, "key", 3)
    reply: list[Any] = [
        b"run:repl:n", 3, 4, b"60", b"1000", b"500", msgspec.json.encode(block), b"d", b"7",
        10, 11, 12,
    ]  # fmt: skip
    level = as_level("a", 1_000, "run:repl", reply)
    assert (level.sid, level.fresh, level.backlog, level.fence) == ("a", 3, 4, "stands")
    assert (level.claims_per_second, level.oldest_fresh_seconds) == (2.0, 0.5)
    assert (level.block, level.published, level.target, level.now_ms) == (block, "d", 7, 1_000)
    assert (level.totals.claims, level.totals.top_ups, level.totals.bookings) == (10, 11, 12)
    reply[3:9] = [b"60", b"99999", b"99999", b"", b"", b""]
    level = as_level("a", 1_000, "run:repl", reply)
    assert (level.claims_per_second, level.oldest_fresh_seconds) == (2.0, 0.0)
    assert (level.block, level.published, level.target) == (None, "", None)
    reply[5] = b""
    assert as_level("a", 1_000, "run:repl", reply).oldest_fresh_seconds is None
    reply[4] = b"1000"
    faded = as_level("a", 31_000, "run:repl", reply).claims_per_second
    assert faded == pytest.approx(2 / 2.718281828)


@pytest.mark.parametrize("garbage", [False, True])
def test_nothing_is_read_of_a_pool_that_is_unreadable(garbage: bool) -> None:
    """The level has no links, claims or times, but the reason and the time of the look."""
    reply: list[Any] = [b"WRONGTYPE a key"]
    if garbage:
        reply = [b"run:repl:n", 3, 4, b"hot", b"1000", b"", b"", b"d", b"7", 1, 2, 3]
    level = as_level("a", 1_234, "run:repl", reply)
    problem = level.problem
    assert problem == "WRONGTYPE a key" or (garbage and "hot" in problem)
    assert level == Level(
        "a", 0, "unreadable", "", 0, 0.0, None, None, "", None, 1_234, Totals(0, 0, 0), problem
    )


@pytest.mark.parametrize(
    ("part", "outcome", "slug"),
    [
        (b"ncp5:a-1", "new", "a-1"),
        (b"ocd5:a-2", "before", "a-2"),
        (b"g", "none", None),
        (b"xxp5:a-1:7:b", "booked", "a-1"),
        (b"e", "empty", None),
        (b"p", "paused", None),
    ],
)
def test_a_replacement_says_what_became_of_it(part: bytes, outcome: str, slug: str | None) -> None:
    """It names the link that the customer holds then."""
    found = as_replacing(part)
    assert (found.outcome.value, found.claim and found.claim.slug) == (outcome, slug)


async def test_a_stream_is_read_in_steps_that_grow() -> None:
    """Each step begins after the last entry, and asks for more where entries hold few claims."""
    asked: list[tuple[str, int]] = []

    class Stream:
        async def xrange(self, _name: str, *, min: str, count: int) -> list[Any]:  # noqa: A002
            asked.append((min, count))
            first = 1 if min == "-" else int(min[1:].split("-")[0]) + 1
            return [
                (f"{n}-1".encode(), entry(payload(f"c{n}"), s=b"a-%d" % n))
                for n in range(first, first + count)
            ]

    anything: Any = Stream()
    stream = ClaimsStream(anything, anything)
    assert len(await stream.unrecorded("a", 1)) == 1
    claims = await stream.unrecorded("a", 20)
    assert [claim.slug for claim in claims] == [f"a-{n}" for n in range(1, 21)]
    await stream.unrecorded("a", 640, after="7-1")
    assert asked == [
        ("-", 1), ("-", 1), ("(1-1", 4), ("(5-1", 16),
        ("(7-1", 10), ("(17-1", 40), ("(57-1", 160), ("(217-1", 640),
    ]  # fmt: skip


def test_a_reply_that_is_not_the_answer_raises() -> None:
    """Each by its kind."""
    good: list[Any] = [b"echo", b"ok", 9, 1, b"ncp5:a-1", b"e", b"ocp5:a-2", b"l", b"p"]
    batch = as_batch(good, "echo", "a")
    assert (batch.level, batch.nudge) == (9, True)
    assert [answer.outcome.value for answer in batch.answers] == [
        "new", "empty", "reused", "limited", "paused",
    ]  # fmt: skip
    assert [answer.claim and answer.claim.slug for answer in batch.answers] == [
        "a-1", None, "a-2", None, None,
    ]  # fmt: skip
    assert not as_batch([b"echo", b"ok", 9, 0], "echo", "a").nudge
    with pytest.raises(StoreUnavailable, match="another call"):
        as_batch(good, "other", "a")
    with pytest.raises(Fenced):
        expect([b"echo", b"fenced", 0], "echo", "a")
    with pytest.raises(UnknownMeeting, match="a is not published"):
        expect([b"echo", b"unpublished", 0], "echo", "a")
    with pytest.raises(StoreUnavailable, match="OOM"):
        as_batch(ResponseError("OOM"), "echo", "a")


# -- errors of Redis -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "lost", "outage"),
    [
        (RedisConnectionError("refused"), True, True),
        (RedisTimeoutError("slow"), True, True),
        (OSError("broken pipe"), True, True),
        (BusyLoadingError("loading"), True, True),
        (OutOfMemoryError("full"), False, True),
        (ReadOnlyError("a replica"), False, True),
        (AuthenticationError("no"), True, True),
        (NoPermissionError("no"), False, True),
        (TryAgainError("moving"), False, True),
        (ClusterDownError("down"), False, True),
        (MasterDownError("down"), False, True),
        (ResponseError("MISCONF cannot save"), False, True),
        (ResponseError("NOREPLICAS not enough"), False, True),
        (ResponseError("BUSY a script runs"), False, True),
        (ResponseError("UNKILLABLE"), False, True),
        (ResponseError("Error running script: -OOM command"), False, True),
        (ResponseError("WRONGTYPE a key"), False, False),
        (ResponseError("ERR a ZOOMED value"), False, False),
    ],
)
def test_outages_of_redis_are_distinguished_from_failed_commands(
    error: Exception, lost: bool, outage: bool
) -> None:
    """A broken connection may be tried again; an outage concerns every meeting."""
    found = store_error(error)
    assert (found.connection_lost, found.is_outage) == (lost, outage)
    assert str(found).startswith("Redis: ")
    assert is_away(found) is outage
    with pytest.raises(StoreUnavailable) as raised, store_errors():
        raise error
    assert raised.value.__cause__ is error


def test_sentinels_that_name_no_master_say_why() -> None:
    """The library's long names of its objects are left out."""
    asked = "Redis(<redis.asyncio.connection.ConnectionPool(<host=s,port=1,db=0>)>)"
    refusals = f"{asked} - auth:AuthenticationError, {asked} - OSError('x'), {asked} - OSError()"
    found = store_error(MasterNotFoundError(f"No master found for 'main' : {refusals}"))
    assert str(found) == "Redis: No master found for 'main' (AuthenticationError, OSError)"
    assert found.connection_lost
    found = store_error(MasterNotFoundError("No master found for 'main'"))
    assert str(found).endswith("'main' (the Sentinels know none that is up)")


def test_what_is_away_for_all() -> None:
    """The ledger always; a defect never."""
    assert is_away(LedgerUnavailable("away"))
    assert not is_away(ValueError("defect"))
    assert not is_away(Fenced("a"))
    assert not StoreUnavailable("x").is_outage
    assert StoreUnavailable("x", connection_lost=True).is_outage
    assert str(store_error(ResponseError("a\nb" * 300))) == "Redis: a"
    assert len(str(store_error(ResponseError("a" * 300)))) == 207
    assert str(store_error(ResponseError(""))) == "Redis: ResponseError"


async def test_a_refused_command_of_a_pipeline_is_its_own_trouble(fake_redis: AnyRedis) -> None:
    """That holds for a key of another type, and any other error ends all."""
    bare = fake_redis.bare
    await bare.sadd("a-set", "x")
    pipe = bare.pipeline(transaction=False)
    for key in ("one", "a-set", "two"):
        pipe.hset(key, "f", "v")
    assert await run_each(pipe) == [1, None, 1]
    assert await bare.hget("two", "f") == b"v"
    pipe = bare.pipeline(transaction=False)
    pipe.set("three", "no number")
    pipe.incr("three")
    with pytest.raises(ResponseError):
        await run_each(pipe)


# -- blocks, meetings and stock -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_ms", "due"),
    [(9_999, False), (10_000, True), (10_001, True), (0, False), (-50_000, False), (-50_001, True)],
)
def test_a_probe_is_due_at_its_time(now_ms: int, due: bool) -> None:
    """A time further away than any that is ever set is due, too."""
    block = Block("r", 0, 10_000, "key", 4)
    assert block.is_probe_due(now_ms, 60.0) is due
    probed = block.probed(now_ms, 60.0)
    assert (probed.probe_at_ms, probed.probes) == (now_ms + 60_000, 5)
    assert (probed.reason, probed.kind, probed.since_ms) == ("r", "key", 0)
    assert block.put_off(7, 1.5).probe_at_ms == 1_507
    assert block.put_off(7, 1.5).probes == 4


async def test_blocks_are_a_meetings_or_a_workspaces(fake_redis: AnyRedis) -> None:
    """Each kept under its own name, lifted by None; probes can be made due at once."""
    blocks = fake_redis.store.blocks
    one, two = Block("one", 1, 50, "a", 2), Block("two", 2, 60)
    await blocks.put("same", one)
    await blocks.put_workspace("same", two)
    assert (await blocks.of("same"), await blocks.of_workspace("same")) == (one, two)
    await blocks.probe_now("same", "same")
    now = [await blocks.of("same"), await blocks.of_workspace("same")]
    assert [each and (each.reason, each.probe_at_ms) for each in now] == [("one", 0), ("two", 0)]
    await blocks.put("same", None)
    assert await blocks.of("same") is None
    assert await blocks.of_workspace("same") is not None
    await blocks.put_workspace("same", None)
    assert await blocks.of_workspace("same") is None
    await blocks.probe_now("same", "same")
    assert await blocks.of("same") is None


async def test_published_meetings_are_counted_by_versions(fake_redis: AnyRedis) -> None:
    """Each publication is one, however many meetings it has; the first target stays."""
    published = fake_redis.store.published
    assert (await published.version(), await published.sids(), await published.all()) == (0, [], [])
    await published.put([])
    assert await published.version() == 0
    await published.put([Meeting("b", min_fresh=3), Meeting("a", paused=True)])
    assert await published.version() == 1
    assert await published.sids() == ["a", "b"]
    assert await published.all() == [Meeting("a", paused=True), Meeting("b", min_fresh=3)]
    kept = await fake_redis.bare.hgetall(key_names.meeting("a"))
    assert (kept[b"paused"], kept[b"ttl_ms"]) == (
        b"1", str(Meeting("a").claim_ttl_seconds * 1000).encode(),
    )  # fmt: skip
    assert kept[b"digest"].decode() == digest(Meeting("a", paused=True)) != digest(Meeting("a"))
    await published.put([Meeting("b", min_fresh=9)])
    assert await fake_redis.bare.hget(key_names.meeting("b"), "target") == b"3"
    assert await fake_redis.bare.hget(key_names.meeting("b"), "paused") == b"0"
    await published.set_targets({"b": 12})
    assert await fake_redis.bare.hget(key_names.meeting("b"), "target") == b"12"
    await published.set_targets({})
    assert await published.link_bases() == {}
    await published.put_link_bases({"w": "https://a.test"})
    assert await published.link_bases() == {"w": "https://a.test"}


async def stock(redis: AnyRedis, ages_seconds: Sequence[float]) -> None:
    """Open a pool with links of these ages, and stop the clock."""
    epoch = await open_pool(redis)
    now_ms = await redis.store.now_ms()
    for number, age in enumerate(ages_seconds):
        made_at_ms = now_ms - round(age * 1000)
        await redis.store.add(SID, epoch, [f"a-{number}"], made_at_ms)


async def test_stock_is_looked_at_and_taken_from_its_old_end(fake_redis: AnyRedis) -> None:
    """The number is limited, and no younger link is taken."""
    await stock(fake_redis, [40, 30, 20, 10])
    pool = fake_redis.store.stock
    assert await pool.oldest(SID, 2) == ["a-0", "a-1"]
    assert await pool.oldest(SID, 99) == ["a-0", "a-1", "a-2", "a-3"]
    assert await pool.pooled(SID, ["a-3", "none", "a-0"]) == [True, False, True]
    assert await pool.pooled(SID, []) == []
    newest = await fake_redis.store.newest_ms(SID)
    assert newest is not None
    assert await pool.take_out(SID, up_to_ms=newest - 15_000, limit=1) == ["a-0"]
    assert await pool.take_out(SID, up_to_ms=newest - 10_000) == ["a-1", "a-2"]
    assert await pool.take_out(SID, up_to_ms=newest - 1) == []
    assert await pool.withdraw(SID, ["a-3", "a-9"]) == 1
    assert await pool.withdraw(SID, []) == 0
    assert await fake_redis.store.newest_ms(SID) is None
    await stock(fake_redis, [5, 1])
    assert await pool.take_out(SID, up_to_ms=None) == ["a-0", "a-1"]


async def test_ages_of_stock_are_counted_between_edges(fake_redis: AnyRedis) -> None:
    """Each link counts once, and links older than the last edge do, too."""
    await stock(fake_redis, [5, 50, 51, 500, 5_000, 5_001])
    assert await fake_redis.store.stock.ages(SID, [30, 300, 3_000]) == [1, 2, 1, 2]
    assert await fake_redis.store.stock.ages(SID, []) == [6]


async def test_a_budget_is_paused_for_no_longer_than_a_number_holds(product: InProcess) -> None:
    """The provider's time is bounded, and without one a report does not pause it."""
    budget = product.store.budget
    assert await budget.rate("default") is None
    await budget.report("default", "throttled", first_rate=5.0, retry_after_seconds=1e300)
    wait = await budget.take("default", first_rate=5.0, within_seconds=1_000)
    assert wait is not None
    assert 590 < wait <= 601
    assert await budget.take("default", first_rate=5.0, within_seconds=500) is None
    rate = await budget.rate("default")
    assert rate is not None
    assert rate < 5.0
    assert await budget.report("other", "ok", first_rate=5.0) >= 5.0
    assert await budget.take("other", first_rate=5.0, within_seconds=0) == 0
