"""Test the sandbox's webhooks: signed, repeated, shuffled, and sent again after failures."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from sandbox.core import Config, Sandbox
from sandbox.records import Booking, Refused
from sandbox.signing import SIGNATURE_HEADER, escaped, signed

SECRET = "s3cret"
NAME = "Zoë <&> 🎈"


class Receiver:
    """Takes webhooks; answers 200 unless `statuses` has something else to say first."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.statuses: list[int | Exception] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(each.content) for each in self.requests]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def sandbox(receiver: Receiver) -> AsyncIterator[Sandbox]:
    config = Config(
        public_url="http://s.test",
        api_key="k",
        meetings={"demo": "Demo"},
        webhook_url="http://hook.test/in",
        webhook_secret=SECRET,
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(receiver))
    sandbox = Sandbox(config, http=http)
    yield sandbox
    await sandbox.aclose()


def _book(sandbox: Sandbox, name: str = NAME) -> Booking:
    meeting = sandbox.state.meeting("demo")
    assert meeting is not None
    return sandbox.book(
        slug=sandbox.state.make_link(meeting).slug,
        meeting_sid=None,
        name=name,
        email="z@example.com",
        starts_at="2030-01-01T10:00:00.000000Z",
        answers={},
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the sandbox offers no event to wait for
            await asyncio.sleep(0.005)


async def _sent(sandbox: Sandbox) -> None:
    await _until(lambda: sandbox.webhooks.pending == 0)


def _hash(text: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


async def test_each_act_sends_its_event(sandbox: Sandbox, receiver: Receiver) -> None:
    """Booking, moving and cancelling send their events, signed over the raw body."""
    booking = _book(sandbox)
    await _sent(sandbox)
    sandbox.reschedule(booking.sid)
    await _sent(sandbox)
    sandbox.cancel(booking.sid)
    await _sent(sandbox)
    assert [each["event"] for each in receiver.bodies] == [
        "booking_created",
        "booking_rescheduled",
        "booking_cancelled",
    ]
    for request in receiver.requests:
        assert request.headers[SIGNATURE_HEADER] == _hash(request.content)
    assert receiver.bodies[0]["booking"]["name"] == NAME
    assert NAME.encode() in receiver.requests[0].content
    assert [each["booking"]["status"] for each in receiver.bodies][-1] == "cancelled"
    assert {each.state for each in sandbox.webhooks.log} == {"delivered"}


async def test_a_wrapped_body_stands_under_webhook(sandbox: Sandbox, receiver: Receiver) -> None:
    """With webhook_wrapped the whole body stands under `webhook`."""
    sandbox.set_knobs({"webhook_wrapped": True})
    _book(sandbox)
    await _sent(sandbox)
    assert receiver.bodies[0]["webhook"]["event"] == "booking_created"


async def test_the_slug_can_be_missing(sandbox: Sandbox, receiver: Receiver) -> None:
    """By itself no field of the payload holds the slug, as at the provider; a knob adds it."""
    slugs = [_book(sandbox).slug]
    sandbox.set_knobs({"webhook_carries_slug": True})
    slugs.append(_book(sandbox).slug)
    await _sent(sandbox)
    held = [
        str(slug) in r.content.decode() for slug, r in zip(slugs, receiver.requests, strict=True)
    ]
    assert held == [False, True]


def test_escaped_bodies_and_escaped_hashes() -> None:
    """The three forms: raw, all escaped, and a raw body with the hash of the escaped one."""
    payload = {"name": NAME}
    raw = '{"name":"Zoë <&> 🎈"}'.encode()
    plain = rb'{"name":"Zo\u00eb \u003c\u0026\u003e \ud83c\udf88"}'
    assert escaped(raw.decode()).encode() == plain
    for escape, body, hashed in (
        ("raw", raw, raw),
        ("escaped_body", plain, plain),
        ("escaped_hash_only", raw, plain),
    ):
        message = signed(payload, secret=SECRET, escape=escape, wrong=False)
        assert message.body == body
        assert message.signature == _hash(hashed)
        assert json.loads(message.body) == payload


def test_wrong_and_missing_signatures() -> None:
    """A wrong signature has the right form; without a secret there is none."""
    wrong = signed({}, secret=SECRET, escape="raw", wrong=True).signature
    assert wrong is not None
    assert wrong != _hash(b"{}")
    assert len(wrong) == len(_hash(b"{}"))
    assert signed({}, secret="", escape="raw", wrong=False).signature is None


async def test_repeats_are_the_same(sandbox: Sandbox, receiver: Receiver) -> None:
    """With webhook_times each event is sent that often, byte for byte; 0 loses it."""
    sandbox.set_knobs({"webhook_times": 4})
    _book(sandbox)
    await _sent(sandbox)
    assert len(receiver.requests) == 4
    assert len({each.content for each in receiver.requests}) == 1
    sandbox.set_knobs({"webhook_times": 0})
    _book(sandbox)
    await _sent(sandbox)
    assert len(receiver.requests) == 4


async def test_failed_deliveries_are_repeated(sandbox: Sandbox, receiver: Receiver) -> None:
    """A delivery is sent again, the same, after a refusal or a broken line, until a 2xx."""
    sandbox.set_knobs({"webhook_retry_seconds": 0.001})
    receiver.statuses = [503, httpx.ConnectError("refused"), 302]
    _book(sandbox)
    await _sent(sandbox)
    (delivery,) = sandbox.webhooks.log
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 4, 200)
    assert len({each.content for each in receiver.requests}) == 1


async def test_a_delivery_fails_after_six_repeats(sandbox: Sandbox, receiver: Receiver) -> None:
    """After six repeats, each after twice the time, a delivery has failed and says why."""
    sandbox.set_knobs({"webhook_retry_seconds": 0.005})
    receiver.statuses = [500] * 20
    loop = asyncio.get_running_loop()
    began = loop.time()
    _book(sandbox)
    await _sent(sandbox)
    assert loop.time() - began >= 0.005 * (1 + 2 + 4 + 8 + 16 + 32)
    (delivery,) = sandbox.webhooks.log
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("failed", 7, 500)
    assert sandbox.counters.webhooks == {"emitted": 1, "retried": 6, "failed": 1}


async def test_shuffling_holds_and_mixes(sandbox: Sandbox, receiver: Receiver) -> None:
    """Events wait until enough are held, and then go out in another order, none lost."""
    sandbox.set_knobs({"webhook_shuffle": 20, "seed": 5})
    sids = [_book(sandbox).sid for _ in range(19)]
    await asyncio.sleep(0.05)
    assert receiver.requests == []
    sids.append(_book(sandbox).sid)
    await _sent(sandbox)
    came = [each["booking"]["sid"] for each in receiver.bodies]
    assert came != sids
    assert sorted(came) == sorted(sids)


async def test_a_held_event_goes_out_after_a_second(sandbox: Sandbox, receiver: Receiver) -> None:
    """An event that is held alone is not held for ever."""
    sandbox.set_knobs({"webhook_shuffle": 20})
    _book(sandbox)
    await _sent(sandbox)
    assert len(receiver.requests) == 1


async def test_a_delayed_event_does_not_hold_up_the_end(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    """A delayed event is pending, and closing does not wait for it."""
    sandbox.set_knobs({"webhook_delay_seconds": 60})
    _book(sandbox)
    await asyncio.sleep(0.02)
    assert sandbox.webhooks.pending == 1
    await asyncio.wait_for(sandbox.aclose(), 2)
    assert receiver.requests == []


async def test_an_event_can_be_switched_off(sandbox: Sandbox, receiver: Receiver) -> None:
    """An event that the owner switched off is not sent; the other events are."""
    sandbox.set_knobs({"webhook_off": "booking_created, booking_rescheduled"})
    booking = _book(sandbox)
    sandbox.reschedule(booking.sid)
    sandbox.cancel(booking.sid)
    await _sent(sandbox)
    assert [each["event"] for each in receiver.bodies] == ["booking_cancelled"]
    assert sandbox.counters.webhooks["switched_off"] == 2


async def test_redelivery_sends_the_same_body_later(sandbox: Sandbox, receiver: Receiver) -> None:
    """An event that is redelivered hours later has the same body, after any other changes."""
    booking = _book(sandbox)
    sandbox.set_knobs({"webhook_times": 0})
    sandbox.reschedule(booking.sid)
    sandbox.set_knobs({"webhook_times": 1, "webhook_wrong_signature": True})
    sandbox.cancel(booking.sid)
    await _sent(sandbox)
    created, moved, cancelled = sandbox.webhooks.log
    assert (created.state, moved.state, cancelled.state) == ("delivered", "lost", "delivered")
    assert len(receiver.requests) == 2
    for old in (created, moved):
        again = sandbox.webhooks.redeliver(old.id)
        await _sent(sandbox)
        assert (sandbox.webhooks.log[-1].id, sandbox.webhooks.log[-1].redelivers) == (again, old.id)
        assert receiver.requests[-1].content == old.message.body
        assert receiver.requests[-1].headers[SIGNATURE_HEADER] == old.message.signature
    assert receiver.requests[2].content == receiver.requests[0].content
    assert receiver.bodies[-1]["event"] == "booking_rescheduled"
    with pytest.raises(Refused):
        sandbox.webhooks.redeliver(10_000)
    assert "message" not in sandbox.webhooks.log_as_dicts()[0]


def test_only_markup_escaped_before_hashing() -> None:
    """The third reading of the signature: letters stay, markup and line breaks are escaped."""
    message = signed(
        {"name": "Zoë <&>\u2028"}, secret=SECRET, escape="markup_hash_only", wrong=False
    )
    assert message.body == '{"name":"Zoë <&>\u2028"}'.encode()
    hashed = '{"name":"Zoë \\u003c\\u0026\\u003e\\u2028"}'.encode()
    assert message.signature == _hash(hashed)
