"""Test what the store keeps to the letter: names that last, fields, and orders."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pool.model.links import Booked, Claim
from pool.model.marks import Marks
from pool.model.meetings import Meeting
from pool.store import Store, key_names, locks, recovery
from pool.store import store as stores
from pool.store.bindings import CustomerNames, unpack
from pool.store.claims_stream import ClaimsStream
from pool.store.cluster.client import ClusterRedis
from pool.store.cluster.wire import ClusterWire
from pool.store.locks import Locks
from pool.store.published import digest
from pool.store.records import BATCH_LIMIT, Block, Sample, Span, payload
from pool.store.replies import decayed_rate, fence_of
from pool.store.stock import Stock
from pool.store.wire import Wire
from tests.any_redis import SECRET_KEY, AnyRedis
from tests.set_aside import all_set_aside
from tests.unit.store_contract import SID, open_pool

# -- what lies in Redis and in the ledger for good ------------------------------------------------


def test_names_are_the_same_in_every_release() -> None:
    """Stored bindings, bookings and marks of an older release have these names."""
    names = CustomerNames(b"secret key of the tests")
    assert names.name("intro", "ann") == "DEYQobl94KmHlsuJ"
    assert names.email_name("Ann@X.test") == "27f721cb8a4e7bac3ca3071cb707279e"
    assert names.fingerprint == "19caf23120223f88"
    for marks in (Marks(b"secret key of the tests"), names.marks):
        assert marks.of_text("ada-4711") == "fb97cb1410d30d8d"
        assert marks.of_email("ada@x.test") == "3df6c7c9ab015bd0"
        assert marks.of_booking("default", "b-1") == "61e4add121083bb7"
        assert marks.pseudonym("default", "b-1") == "erased-90fbe38da39cb7744723ac99c2eb4192"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("ann",), ("ann",)),
        (("ann", ""), ("ann",)),
        (("ann", "a@x.test"), ("ann", "a@x.test")),
        (("ann", "a@x.test", {}), ("ann", "a@x.test")),
        (("ann", None, {"n": 1}), ("ann", None, {"n": 1})),
    ],
)
def test_a_claim_carries_no_more_than_it_says(given: Any, kept: Any) -> None:
    assert msgspec.msgpack.decode(payload(*given)) == list(kept)


def test_a_booking_is_read_as_far_as_it_is_known() -> None:
    """A time of 0 is none."""
    assert unpack("xd5:a:0:\x1fpending\x1f\x1f9\x1f\x1fu:1") == Claim(
        "a", "consumed", "direct", 5, None, None, Booked("", "pending", None, 9, None, "u:1")
    )
    assert unpack("xp5:a:7:b") == Claim("a", "consumed", "pool", 5, 7, "b")


# -- the past ---------------------------------------------------------------------------------


def test_rates_are_per_second_of_what_a_sample_covers() -> None:
    """Counts are rates over the time that a sample covers."""

    first = Sample(0, 5, 4, 9, 30, 15, 1, 60, after_gap=False)
    assert (first.claims_per_second, first.top_ups_per_second) == (0.5, 0.25)


def test_the_past_has_its_steps() -> None:
    assert {each.name: (each.step_seconds, each.seconds) for each in Span} == {
        "HOUR": (10, 3_600), "DAY": (60, 86_400), "WEEK": (3_600, 604_800),
        "FIVE_WEEKS": (3_600, 3_024_000),
    }  # fmt: skip
    assert BATCH_LIMIT == 64


@pytest.mark.parametrize(
    ("heat", "idle", "rate"),
    [(30.0, 0.0, 1.0), (60.0, 30.0, 0.7357588823), (1e-3, 0.0, 0.0), (1.1e-3, 0.0, 1.1e-3 / 30)],
)
def test_demand_fades_by_a_factor_of_e_in_half_a_minute(
    heat: float, idle: float, rate: float
) -> None:
    assert decayed_rate(heat, idle) == pytest.approx(rate)


def test_blocks_are_put_off_to_the_millisecond() -> None:
    block = Block("404", 1, 2, "refused-404", 3)
    assert block.put_off(1_000, 1.5) == Block("404", 1, 2_500, "refused-404", 3)
    assert block.probed(1_000, 1.5) == Block("404", 1, 2_500, "refused-404", 4)


@pytest.mark.parametrize(
    ("epoch", "fence"),
    [
        ("foreign:run:repl:n", "foreign"),
        ("sealed:token:run:repl", "sealed"),
        ("sealed:token:other", "fallen"),
        ("other:token:run:repl", "fallen"),
        ("", "fallen"),
    ],
)
def test_which_fence_an_epoch_is(epoch: str, fence: str) -> None:
    assert fence_of(epoch, "run:repl") == fence


# -- the store and its connections -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "name", "value"),
    [
        (Store.open, "timeout_seconds", 2.0),
        (Store.open, "max_connections", 32),
        (Locks.held, "seconds", 5.0),
        (Stock.take_out, "limit", 1_000),
    ],
)
def test_what_is_asked_without_a_number_is_bounded(
    asked: Callable[..., object], name: str, value: object
) -> None:
    assert inspect.signature(asked).parameters[name].default == value


def test_calls_have_their_bounds() -> None:
    """A wire alone would wait for ever, and so would a task that loses its cancellation."""
    assert (recovery.CALL_SECONDS, recovery._STANDINGS) == (2.0, 500)
    assert (locks._RENEWALS, locks._END_SECONDS) == (4, 1.0)


@pytest.mark.parametrize("cluster", [False, True])
async def test_a_store_opens_what_its_address_names(
    monkeypatch: pytest.MonkeyPatch, cluster: bool
) -> None:
    """A client, and beside it a wire for claims."""
    asked: list[Any] = []
    opened = stores.open_redis("redis://127.0.0.1:6379/0", timeout_seconds=1, max_connections=1)
    if cluster:
        opened = ClusterRedis(SimpleNamespace())  # type: ignore[arg-type]

    def open_redis(url: str, **options: Any) -> Any:
        asked.append((url, options))
        return opened

    class Kept(Store):
        def __init__(self, *parts: Any, extra: int) -> None:
            asked.append((parts, extra))

    monkeypatch.setattr(stores, "open_redis", open_redis)
    monkeypatch.setattr(stores, "ClusterWire", lambda redis: ("cluster", redis))
    monkeypatch.setattr(stores, "Wire", lambda redis: ("one", redis))
    Kept.open("redis://a", SECRET_KEY, timeout_seconds=3.0, max_connections=4, extra=7)
    (url, options), ((redis, names, wire), extra) = asked
    assert (url, options) == ("redis://a", {"timeout_seconds": 3.0, "max_connections": 4})
    assert (redis, wire, extra) == (opened, ("cluster" if cluster else "one", opened), 7)
    assert names.fingerprint == CustomerNames(SECRET_KEY).fingerprint
    assert ClusterWire is not Wire


async def test_a_store_closes_its_wire_and_all_its_connections() -> None:
    closed: list[object] = []

    class Client:
        async def aclose(self, **how: object) -> None:
            closed.append(how)

    client: Any = Client()
    for wire in (None, SimpleNamespace(close=lambda: closed.append("wire"))):
        await Store(client, CustomerNames(b"k"), wire).close()  # type: ignore[arg-type]
    whole = {"close_connection_pool": True}
    assert closed == [whole, "wire", whole]


async def test_a_pool_tells_how_young_its_youngest_link_is(fake_redis: AnyRedis) -> None:
    """It does so as each link enters, with their number."""
    store = fake_redis.store
    epoch = await open_pool(fake_redis)
    assert await store.newest_ms(SID) is None
    assert await store.add(SID, epoch, ["a-1", "a-2"], 5_000) == 2
    assert await store.add(SID, epoch, ["a-0"], 4_000) == 3
    assert await store.newest_ms(SID) == 5_000
    assert await store.stock.oldest(SID, 1) == ["a-0"]
    assert await store.stock.oldest(SID, 2) == ["a-0", "a-1"]
    assert await store.stock.pooled(SID, ["a-2", "no", "a-0"]) == [True, False, True]
    assert await store.stock.pooled(SID, []) == []
    assert await store.stock.withdraw(SID, []) == 0
    assert await store.stock.withdraw(SID, ["a-2", "no"]) == 1
    assert await store.stock.take_out(SID, up_to_ms=None, limit=1) == ["a-0"]


# -- what is published ----------------------------------------------------------------------------


async def test_a_meeting_is_published_field_by_field(fake_redis: AnyRedis) -> None:
    """The form is the one that scripts read, and the target that top-up set stays."""
    meeting = Meeting("a", min_fresh=7, claim_ttl_seconds=60, after_booking="new", reserve=3)
    published = fake_redis.store.published
    assert await published.version() == 0
    assert await published.all() == []
    await published.put([])
    await published.set_targets({})
    assert await published.version() == 0
    await published.put([meeting, Meeting("b", closed_reason="gone")])
    await published.set_targets({"a": 9})
    await published.put([meeting])
    assert await published.version() == 2
    fields: Any = await fake_redis.bare.hgetall(key_names.meeting("a"))
    assert fields == {
        b"paused": b"0", b"ttl_ms": b"60000", b"after_booking": b"new", b"reserve": b"3",
        b"json": msgspec.json.encode(meeting), b"digest": digest(meeting).encode(),
        b"target": b"9",
    }  # fmt: skip
    assert len(digest(meeting)) == 16
    closed: Any = await fake_redis.bare.hgetall(key_names.meeting("b"))
    assert (closed[b"paused"], closed[b"target"]) == (b"1", str(Meeting("b").min_fresh).encode())
    assert await published.sids() == ["a", "b"]
    assert await published.all() == [meeting, Meeting("b", closed_reason="gone")]
    await fake_redis.bare.delete(key_names.meeting("a"))
    assert [each.sid for each in await published.all()] == ["b"]
    await published.put_link_bases({"w": "https://w.test", "v": "https://v.test"})
    assert await published.link_bases() == {"w": "https://w.test", "v": "https://v.test"}


# -- the stream -----------------------------------------------------------------------------------


async def test_a_stream_is_trimmed_to_the_entry(fake_redis: AnyRedis) -> None:
    """Later entries of the same millisecond stay."""
    key, bare = key_names.claims(SID), fake_redis.bare
    for entry_id in ("5-1", "5-2", "5-3", "6-0"):
        await bare.xadd(key, {"x": "1"}, id=entry_id)
    await fake_redis.store.stream.trim(SID, "5-2")
    assert [entry_id for entry_id, _ in await bare.xrange(key)] == [b"5-3", b"6-0"]


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (63, 1), (128, 2), (1_000, 15)])
async def test_a_stream_is_read_in_steps_of_full_entries(limit: int, count: int) -> None:
    """Each step begins after the last entry, until one is not full."""
    asked: list[Any] = []

    class Client:
        async def xrange(self, key: str, **how: Any) -> list[Any]:
            asked.append((key, how))
            return []

    client: Any = Client()
    stream = ClaimsStream(client, SimpleNamespace())  # type: ignore[arg-type]
    assert await stream.unrecorded(SID, limit) == []
    assert await stream.unrecorded(SID, limit, after="5-1") == []
    assert asked == [
        (key_names.claims(SID), {"min": "-", "count": count}),
        (key_names.claims(SID), {"min": "(5-1", "count": count}),
    ]


async def test_what_is_set_aside_is_counted_and_listed_by_meeting(fake_redis: AnyRedis) -> None:
    """The oldest of each first; a text is blanked in one meeting's alone, at its length."""
    asides, bare = fake_redis.store.set_aside, fake_redis.bare
    entry: Any = await bare.xadd(key_names.claims("b"), {"c": "of ann"}, id="5-1")
    await bare.xadd(key_names.claims("b"), {"c": "of ben"}, id="5-2")
    await asides.put("b", entry.decode(), {b"c": b"of ann", b"s": b"a"}, "unreadable")
    for sid, name in (("b", "4-1"), ("a", "9-1"), ("bb", "1-1")):
        await asides.keep(sid, name, {b"c": b"of ann"}, "refused")
    assert await bare.xlen(key_names.claims("b")) == 1
    assert await asides.counts() == {"a": 1, "b": 2, "bb": 1}
    await asides.blank("b", "ann")
    kept = await all_set_aside(fake_redis.store)
    found = [(each.sid, each.entry_id, each.reason, each.fields) for each in kept]
    assert found == [
        ("a", "9-1", "refused", {b"c": b"of ann"}),
        ("b", "4-1", "refused", {b"c": b"of xxx"}),
        ("b", "5-1", "unreadable", {b"c": b"of xxx", b"s": b"a"}),
        ("bb", "1-1", "refused", {b"c": b"of ann"}),
    ]
