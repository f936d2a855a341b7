"""Test notices: one when a trouble starts and one when it ends, whatever processes look and how
often.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace as with_
from typing import Literal

import httpx
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from pool.alerting import rules
from pool.alerting.webhook import ATTEMPTS, Notifier
from pool.errors import NotifyFailed
from pool.model.meetings import Meeting
from pool.model.troubles import HOLDS_SECONDS, Kind, Notice, Reading, Sign, Standing, step
from pool.store import key_names
from pool.store.alerts import NOTICES_LIMIT
from pool.store.records import Block, Level, Totals
from tests.any_redis import AnyRedis

URL = "https://hooks.example.com/services/secret"
NOTICE = Notice("empty pool", "demo", True, "the pool of <demo> & co is empty", 1_700_000_000_000)


def reading(sign: Sign, kind: Kind = Kind.LOW) -> Reading:
    return Reading(kind, "demo", sign, f"it is {sign}")


def told(kind: Kind, *signs: tuple[float, Sign]) -> list[tuple[float, bool]]:
    """Make readings at these seconds. Return each notice's time, with True for a start."""
    standing, notices = None, []
    for seconds, sign in signs:
        standing, notice = step(standing, reading(sign, kind), round(seconds * 1000))
        if notice:
            notices.append((seconds, notice.started))
    return notices


# -- when ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_each_trouble_is_reported_once_when_it_starts_and_once_when_it_ends(kind: Kind) -> None:
    """It is reported after it held for its time, and then not again while it stands."""
    start, end = HOLDS_SECONDS[kind]
    there: list[tuple[float, Sign]] = [(float(second), "there") for second in range(200)]
    over: list[tuple[float, Sign]] = [(float(200 + second), "over") for second in range(200)]
    assert told(kind, *there, *over) == [(start, True), (200 + end, False)]


def test_a_trouble_that_comes_and_goes_is_not_reported() -> None:
    """A start that does not last is not reported, nor is an end that does not last."""
    assert told(Kind.LOW, (0, "there"), (10, "over"), (14, "there"), (20, "between")) == []
    lasting: list[tuple[float, Sign]] = [(0, "there"), (15, "there")]
    flicker: list[tuple[float, Sign]] = [
        (20, "over"), (79, "over"), (80, "there"), (81, "over"), (140, "over"), (141, "over"),
    ]  # fmt: skip
    assert told(Kind.LOW, *lasting, *flicker) == [(15, True), (141, False)]


def test_between_the_levels_nothing_changes() -> None:
    """A trouble starts at one level and ends at another."""
    assert told(Kind.EMPTY, (0, "there"), (10, "there"), (20, "between"), (30, "there")) == [
        (10, True)
    ]
    assert step(None, reading("between"), 0) == (None, None)


def test_a_clock_set_back_does_not_hold_a_notice_for_ever() -> None:
    """The time is counted from the new present."""
    standing, _ = step(None, reading("there"), 10_000_000)
    standing, _ = step(standing, reading("there"), 1_000)
    assert step(standing, reading("there"), 16_000)[1] is not None


# -- what ----------------------------------------------------------------------------

MEETING = Meeting("demo", min_fresh=50)
LEVEL = Level("demo", 50, "stands", "", 0, 0.0, None, None, "", 50, 0, Totals())


def signs(level: Level, meeting: Meeting = MEETING) -> dict[Kind, Sign]:
    """Return the readings of one pool whose troubles all stood until now."""
    standing = [f"{kind}:demo" for kind in Kind]
    found = rules.pool_readings({"demo": meeting}, [level], {"demo": 50}, standing)
    return {each.kind: each.sign for each in found}


def test_an_empty_pool_is_there_until_it_is_half_full_again() -> None:
    """Paused is a choice; recovering has a notice of its own."""
    empty = replace(LEVEL, fresh=0)
    assert signs(empty)[Kind.EMPTY] == "there"
    assert signs(replace(LEVEL, fresh=24))[Kind.EMPTY] == "between"
    assert signs(replace(LEVEL, fresh=25))[Kind.EMPTY] == "over"
    assert signs(empty, with_(MEETING, paused=True))[Kind.EMPTY] == "over"
    assert signs(replace(empty, fence="fallen"))[Kind.EMPTY] == "between"


def test_a_low_runway_is_there_until_it_is_long_again() -> None:
    """A pool at its target is not low, however fast claims come."""
    assert signs(replace(LEVEL, fresh=40, claims_per_second=1.0))[Kind.LOW] == "there"
    assert signs(replace(LEVEL, fresh=40, claims_per_second=0.2))[Kind.LOW] == "between"
    assert signs(replace(LEVEL, fresh=40, claims_per_second=0.1))[Kind.LOW] == "over"
    assert signs(replace(LEVEL, fresh=50, claims_per_second=9.0))[Kind.LOW] == "over"
    assert signs(replace(LEVEL, fresh=0, claims_per_second=1.0))[Kind.LOW] == "between"


def test_of_pools_that_are_well_nothing_is_read() -> None:
    """Ten thousand of them cost no message and no memory."""
    assert list(rules.pool_readings({"demo": MEETING}, [LEVEL], {"demo": 50}, [])) == []


def test_blocks_lag_unmatched_bookings_fences_and_workers_are_read() -> None:
    """Each with a level that raises it and one that ends it."""
    block = Block("401: the API key is not accepted", 0, 0)
    assert signs(replace(LEVEL, block=block))[Kind.BLOCKED] == "there"
    assert "API key" in rules.blocked("w", "workspace w", block).text
    assert rules.blocked("w", "workspace w", None).sign == "over"
    lags: list[Sign] = [rules.lag(claims).sign for claims in (1_000, 999, 101, 100, 0)]
    assert lags == ["there", "between", "between", "over", "over"]
    assert [rules.unmatched(events).sign for events in (1, 0)] == ["there", "over"]
    assert [rules.dead(events).sign for events in (1, 0)] == ["there", "over"]
    silent = [rules.worker(seconds, 5.0).sign for seconds in (31, 30, 10, 9)]
    assert silent == ["there", "between", "between", "over"]
    assert rules.worker(100, 60).sign == "over", "whoever sweeps seldom is not stuck"


@pytest.mark.parametrize(
    ("epoch", "fence", "lately", "sign"),
    [
        ("old:server:nonce", "fallen", False, "there"),
        ("", "fallen", False, "over"),  # a pool that is not open yet
        ("sealed:token:old:server", "fallen", False, "over"),  # a restart that was planned
        ("", "fallen", True, "there"),
        ("this:server:nonce", "stands", True, "there"),
        ("this:server:nonce", "stands", False, "over"),
    ],
)
def test_a_fence_that_fell_is_distinguished_from_pools_being_opened(
    epoch: str, fence: Literal["stands", "fallen"], lately: bool, sign: Sign
) -> None:
    """`lately`: a recovery cost fresh links."""
    assert rules.fence([replace(LEVEL, epoch=epoch, fence=fence)], lately).sign == sign


# -- telling it once -------------------------------------------------------------------


async def observe(redis: AnyRedis, sign: Sign, now_ms: int, kind: Kind = Kind.BLOCKED) -> int:
    store = redis.another_store()
    outbox = await store.alerts.look(now_ms)
    return await store.alerts.observe(outbox, [reading(sign, kind)], now_ms)


async def waiting(redis: AnyRedis) -> list[bool]:
    """Return for each waiting notice True if it is of a start."""
    texts = await redis.bare.lrange(key_names.NOTICES, 0, -1)
    return [json.loads(text)["started"] for text in texts]


async def test_several_observers_tell_once(fake_redis: AnyRedis) -> None:
    """Observers that look at the same moment send one notice; a standing trouble outlives every
    process.
    """
    assert sum(await asyncio.gather(*(observe(fake_redis, "there", 1) for _ in range(8)))) == 1
    assert await observe(fake_redis, "there", 1_000) == 0
    assert await waiting(fake_redis) == [True]
    await observe(fake_redis, "over", 2_000)
    ends = [observe(fake_redis, "over", 40_000) for _ in range(8)]
    assert sum(await asyncio.gather(*ends)) == 1
    assert await waiting(fake_redis) == [True, False]
    assert (await fake_redis.store.alerts.look(0)).standing == {}


async def test_an_observer_that_looked_too_early_changes_nothing(fake_redis: AnyRedis) -> None:
    """Another observer reported the trouble between its look and its report."""
    store = fake_redis.store
    stale = await store.alerts.look(1)
    assert await observe(fake_redis, "there", 1) == 1
    assert await store.alerts.observe(stale, [reading("there", Kind.BLOCKED)], 2) == 0
    assert await waiting(fake_redis) == [True]


async def test_notices_are_bounded(fake_redis: AnyRedis) -> None:
    """While none can be delivered, the oldest are dropped."""
    store = fake_redis.store
    for number in range(NOTICES_LIMIT + 5):
        outbox = await store.alerts.look(number)
        one = Reading(Kind.BLOCKED, f"m{number}", "there", "x")
        await store.alerts.observe(outbox, [one], number)
    texts = await fake_redis.bare.lrange(key_names.NOTICES, 0, -1)
    assert len(texts) == NOTICES_LIMIT
    assert json.loads(texts[-1])["about"] == f"m{NOTICES_LIMIT + 4}"


async def test_a_fence_that_fell_and_was_recovered_between_two_sweeps_is_seen(
    fake_redis: AnyRedis,
) -> None:
    """Recovery takes less time than sweeps are apart."""
    assert not (await fake_redis.store.alerts.look(0)).fence_fell
    await fake_redis.store.alerts.fence_fell()
    assert (await fake_redis.store.alerts.look(0)).fence_fell


# -- sending ---------------------------------------------------------------------------


class Receiver:
    """The receiver of notices, with the ones it got, and its answers."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.answer = answer
        self.got: list[dict[str, object]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(json.loads(request.content))
        return self.answer()


def notifier(redis: AnyRedis, receiver: Receiver) -> Notifier:
    return Notifier(SecretStr(URL), redis.another_store(), transport=httpx.MockTransport(receiver))


def fails(status: int) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status)


async def put_off(redis: AnyRedis) -> None:
    """Let the time of the next attempt come."""
    await redis.bare.hset(key_names.NOTICES_RETRY, "not_before", 0)


def test_a_notice_is_as_slack_takes_it() -> None:
    """A text with its three characters escaped, a colour, and fields for programs."""
    body = NOTICE.body()
    assert body["text"] == ":red_circle: linkpool: the pool of &lt;demo&gt; &amp; co is empty"
    [attachment] = body["attachments"]
    assert attachment["color"] == "danger"
    assert [(field["title"], field["value"]) for field in attachment["fields"]] == [
        ("Alert", "empty pool"),
        ("About", "demo"),
        ("State", "started"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        "<!channel> pay now",
        "<!here|here>",
        "<@U024BE7LH>",
        "<https://evil.example|your invoice>",
        "@here @channel @everyone @all",
        "see https://evil.example/pay or www.evil.example",
        "[your invoice](//evil.example)",
        "mail billing@evil.example",
        "&lt;!channel&gt;",
    ],
)
def test_the_providers_words_ping_nobody_and_link_nowhere(words: str) -> None:
    """The author of the provider's error texts cannot speak to a whole channel through us."""
    reading = rules.blocked("demo", "meeting demo", Block(words, 0, 0))
    notice = Notice(reading.kind, words, True, reading.text, 1)
    text = json.dumps(notice.body(), ensure_ascii=False)
    assert "<" not in text
    assert ">" not in text
    assert re.search(r"@\w|://|\]\(|evil\.\w", text) is None
    assert text.replace("\u200b", "").count(html.escape(words, quote=False)) == 2, "it is all there"


async def test_notices_arrive_in_order_and_once(fake_redis: AnyRedis) -> None:
    """Notices arrive in order and once, however many processes send at the same time."""
    receiver = Receiver(lambda: httpx.Response(200))
    await observe(fake_redis, "there", 1)
    await observe(fake_redis, "over", 2)
    await observe(fake_redis, "over", 40_000)
    senders = [notifier(fake_redis, receiver) for _ in range(4)]
    sent = await asyncio.gather(*(sender.deliver() for sender in senders))
    assert sorted(sent) == [0, 0, 0, 2]
    assert [body["text"] for body in receiver.got] == [
        ":red_circle: linkpool: it is there",
        ":large_green_circle: linkpool: it is over",
    ]
    assert not (await fake_redis.store.alerts.look(10**13)).due
    for sender in senders:
        await sender.close()


async def test_a_receiver_that_is_down_is_tried_a_bounded_number_of_times(
    fake_redis: AnyRedis,
) -> None:
    """The pauses grow, and then the notice is given up."""
    receiver = Receiver(fails(503))
    await observe(fake_redis, "there", 1)
    sender = notifier(fake_redis, receiver)
    for attempt in range(1, ATTEMPTS + 1):
        assert await sender.deliver() == 0
        assert await sender.deliver() == 0, "it is not due yet"
        assert len(receiver.got) == attempt
        await put_off(fake_redis)
    assert await waiting(fake_redis) == []
    assert await sender.deliver() == 0
    assert len(receiver.got) == ATTEMPTS
    await sender.close()


async def test_a_receiver_that_comes_back_gets_what_waited(fake_redis: AnyRedis) -> None:
    """Notices arrive in order; the attempts of one do not count for the next."""
    receiver = Receiver(fails(503))
    for kind in (Kind.BLOCKED, Kind.WORKER):
        await observe(fake_redis, "there", 1, kind)
    sender = notifier(fake_redis, receiver)
    await sender.deliver()
    receiver.answer, receiver.got = lambda: httpx.Response(204), []
    await put_off(fake_redis)
    assert await sender.deliver() == 2
    titles = [body["attachments"][0]["fields"][0]["value"] for body in receiver.got]  # type: ignore[index]
    assert titles == ["blocked provider", "stuck worker"]
    assert await fake_redis.bare.exists(key_names.NOTICES_RETRY) == 0
    await sender.close()


@pytest.mark.parametrize(("status", "final"), [(404, True), (301, True), (429, False)])
async def test_what_the_receiver_refuses_for_good_is_not_repeated(
    fake_redis: AnyRedis, status: int, final: bool
) -> None:
    """A wrong address stays wrong; too many requests do not. No redirect is followed."""
    receiver = Receiver(fails(status))
    await observe(fake_redis, "there", 1)
    sender = notifier(fake_redis, receiver)
    await sender.deliver()
    assert (await waiting(fake_redis) == []) is final
    assert len(receiver.got) == 1
    await sender.close()


@pytest.mark.parametrize(
    "answer", [fails(500), lambda: (_ for _ in ()).throw(httpx.ConnectError(f"to {URL}"))]
)
async def test_failures_never_tell_the_address(
    fake_redis: AnyRedis, answer: Callable[[], httpx.Response]
) -> None:
    """The address is a secret: anyone who has it may write there."""
    sender = notifier(fake_redis, Receiver(answer))
    with pytest.raises(NotifyFailed) as failed:
        await sender.send(NOTICE)
    assert "hooks.example.com" not in str(failed.value)
    assert failed.value.__cause__ is None
    await sender.close()


def test_standing_is_kept_as_it_was() -> None:
    """Redis compares text, which must not depend on the process that wrote it."""
    import msgspec

    text = msgspec.json.encode(Standing(True, None))
    assert msgspec.json.encode(msgspec.json.decode(text, type=Standing)) == text
