"""Test the parser of webhooks, which nothing can crash."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool.errors import BadSignature, MalformedJson
from pool.model.links import is_slug
from pool.providers import webhooks
from pool.providers.base import BookingEvent
from pool.providers.signatures import verify

SLUG = "one-off-c5530bc7c9ab"


def parse(payload: Any, ref_field: str | None = "ref") -> BookingEvent:
    return webhooks.parse(json.dumps(payload).encode(), ref_field)


FULL = {
    "id": "7a0e",
    "sid": "b1",
    "name": "Zoë <&>",
    "email": " zoe@example.test ",
    "starts_at": "2026-12-01T10:00:00Z",
    "status": "confirmed",
    "meeting": {"name": "Intro", "sid": "m1"},
    "client_booking_url": f"https://acme.neetocal.com/bookings/b1?from={SLUG}",
    "form_responses": [
        {"field": "Why?", "value": "Because", "type": "text", "field_code": "why"},
        {"field": "Ref", "value": SLUG, "type": "text", "field_code": "ref"},
    ],
    "created_at": "2026-11-22T07:00:00.123+01:00",
    "updated_at": "2026-11-22T09:00:00Z",
}


def test_a_whole_payload_is_read_whole() -> None:
    """All documented fields of a booking reach the event."""
    event = parse({"event": "booking_created", "booking": FULL})
    assert event.kind == "booked"
    assert event.name == "booking_created"
    assert (event.booking_sid, event.meeting_sid) == ("b1", "m1")
    assert event.email == "zoe@example.test"
    assert event.ref == SLUG
    assert event.at == datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)
    assert event.tokens.count(SLUG) == 1
    assert event.tokens[:2] == ("booking_created", "7a0e")


@pytest.mark.parametrize(
    "payload",
    [
        {"event": "booking_created", "booking": FULL},
        {"webhook": {"event": "booking_created", "booking": FULL}},
        {"webhook": {"event": "booking_created", "data": {"booking": FULL}}},
        {"webhook": {"event": "booking_created", "payload": FULL}},
        {"event": "booking_created", "data": {"booking": FULL}},
        {"event": "booking_created", "data": FULL},
        {"event_type": "booking.created", "payload": {"booking": FULL}},
        {"event": "booking_created", "webhook": None, "data": [], "booking": FULL},
    ],
)
def test_every_known_envelope_holds_the_same_booking(payload: Any) -> None:
    """Wrapped or not, the event is the same."""
    event = parse(payload)
    assert (event.kind, event.booking_sid, event.ref) == ("booked", "b1", SLUG)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("booking_created", "booked"),
        ("booking_cancelled", "cancelled"),
        ("booking_canceled", "cancelled"),
        ("Booking-Rescheduled", "rescheduled"),
        ("booking_no_show", "other"),
        ("created", "other"),
        ("", "other"),
        (None, "other"),
        (7, "other"),
        ({"name": "booking_created"}, "other"),
    ],
)
def test_each_event_has_its_kind(name: Any, kind: str) -> None:
    """An unknown event is "other", never a guess."""
    assert parse({"event": name, "booking": FULL}).kind == kind


def test_later_events_happened_when_the_booking_was_last_changed() -> None:
    """A booking's creation time is not the time of its cancellation."""
    event = parse({"event": "booking_cancelled", "booking": FULL})
    assert event.at == datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "ref"),
    [
        (SLUG, SLUG),
        (f" {SLUG}\n", SLUG),
        ([SLUG], SLUG),
        (["no slug here", None, SLUG], SLUG),
        ([], None),
        ([[SLUG]], None),
        ("not a slug", None),
        (f"{SLUG}\x00", None),
        ("a" * 129, None),
        (1234, "1234"),
        (True, None),
        (1.5, None),
        (None, None),
        ({"value": SLUG}, None),
    ],
)
def test_the_ref_is_a_slug_or_nothing(value: Any, ref: str | None) -> None:
    """Visitors can write what they like into that field."""
    responses = [None, 7, {"field_code": 7}, {"field_code": "ref", "value": value}]
    event = parse({"event": "booking_created", "booking": {"form_responses": responses}})
    assert event.ref == ref


def test_without_a_ref_field_no_answer_is_a_ref() -> None:
    """Only the field that was configured counts."""
    assert parse({"event": "x", "booking": FULL}, ref_field=None).ref is None
    assert parse({"event": "x", "booking": FULL}, ref_field="why_not").ref is None


@pytest.mark.parametrize(
    ("booking", "field", "value"),
    [
        ({}, "booking_sid", None),
        ({"sid": 7}, "booking_sid", "7"),
        ({"id": "x"}, "booking_sid", "x"),
        ({"sid": "", "id": "x"}, "booking_sid", "x"),
        ({"sid": "a\x00"}, "booking_sid", None),
        ({"sid": "a" * 129}, "booking_sid", None),
        ({"sid": ["a"]}, "booking_sid", None),
        ({"sid": 10**30}, "booking_sid", None),
        ({"meeting_sid": "m2", "meeting": {"sid": "m1"}}, "meeting_sid", "m2"),
        ({"meeting": {"sid": "a b"}}, "meeting_sid", None),
        ({"meeting": "m1"}, "meeting_sid", None),
        ({"email": "none"}, "email", None),
        ({"email": "a@b\x00.test"}, "email", None),
        ({"email": 7, "client_email": "a@b.test"}, "email", "a@b.test"),
        ({"email": "a@" + "b" * 400}, "email", None),
        ({"created_at": "yesterday"}, "at", None),
        ({"created_at": 1_700_000_000}, "at", None),
        ({"created_at": "0001-01-01T00:00:00+10:00"}, "at", None),
        ({"created_at": "2026-11-22"}, "at", datetime(2026, 11, 22, tzinfo=UTC)),
        ({"updated_at": "2026-11-22T06:00:00"}, "at", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ({"updated_at": "2026-11-22 06:00:00 UTC"}, "at", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ({"updated_at": " 2026-11-22T06:00z "}, "at", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ({"updated_at": "2026-11-22 07:00 +0100"}, "at", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ({"updated_at": "2026-11-22T07:00+01:00 UTC"}, "at", None),
    ],
)
def test_unusable_fields_are_missing_fields(booking: Any, field: str, value: Any) -> None:
    """Values that cannot be stored or compared safely are left out."""
    event = parse({"event": "booking_created", "booking": booking})
    assert getattr(event, field) == value


@pytest.mark.parametrize(
    "text",
    [
        SLUG,
        f"https://acme.neetocal.com/{SLUG}",
        f"https://acme.neetocal.com/{SLUG}?x=1#y",
        f"https://x.test/?next=https%3A%2F%2Facme.neetocal.com%2F{SLUG}%3Fx",
        f"Your link: <a href='/{SLUG}'>here</a>",
        f"ü{SLUG}ü",
    ],
)
def test_a_slug_is_found_wherever_it_stands(text: str) -> None:
    """Alone, in text, in a URL, and in a URL within a URL."""
    assert SLUG in parse({"event": "x", "booking": {"metadata": [{"deep": text}]}}).tokens


def test_tokens_are_whole_runs_of_values_only() -> None:
    """Keys do not count, nor do parts of longer runs, nor what is too short or too long."""
    payload = {"some_key_here": ["abc", "abcd", "x" * 128, "y" * 129, "abcd", "-abcd", f"{SLUG}ff"]}
    assert parse(payload).tokens == ("abcd", "x" * 128, f"{SLUG}ff")


def test_tokens_are_bounded() -> None:
    """Of all in a payload, the first 500 are kept."""
    tokens = parse({"event": "x", "all": [f"token{n}" for n in range(2000)]}).tokens
    assert len(tokens) == 500
    assert tokens[0] == "token0"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"{",
        b"{}x",
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 9999 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00 x"}',
        b'{"a": "\x00"}',
        '{"a": "x"}'.encode("utf-16"),
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    """Broken, deep and out-of-range JSON is refused, in the one documented way."""
    with pytest.raises(MalformedJson):
        webhooks.parse(body, "ref")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"event": "x", "event": "booking_created"}',
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a": 123456789012345678901234567890}',
        b'{"booking": []}',
        b'{"webhook": {"webhook": {"webhook": {}}}}',
        b'{"event": "\\u0000\\n"}',
    ],
)
def test_odd_json_is_tolerated(body: bytes) -> None:
    """Missing, doubled and unknown things do not make a payload unreadable."""
    event = webhooks.parse(body, "ref")
    assert not any(each < " " for each in event.name)


FIELDS = ["event", "webhook", "data", "payload", "booking", "sid", "id", "email", "meeting"]
FIELDS += ["meeting_sid", "form_responses", "field_code", "value", "created_at", "updated_at"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from([SLUG, "2026-11-22T06:00:00Z", "booking_created", "a@b.test"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


def check_parsed(body: bytes, ref_field: str) -> None:
    """Check that a body is refused as MalformedJson, or gives an event that can be stored."""
    event = refused = None
    try:
        event = webhooks.parse(body, ref_field)
    except MalformedJson as error:
        refused = error
    if event is None:
        assert str(refused).encode(), "a refusal without a reason"
        return
    assert event.ref is None or is_slug(event.ref)
    assert all(is_slug(token) for token in event.tokens)
    assert event.at is None or event.at.utcoffset() is not None
    for text in (event.name, event.booking_sid, event.meeting_sid, event.email):
        assert text is None or "\x00" not in text


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_any_json_gives_an_event_fit_to_be_stored(payload: Any) -> None:
    """The parser raises MalformedJson or returns values of the promised form."""
    check_parsed(json.dumps(payload).encode(), "a@b.test")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_an_event_or_malformed_json(body: bytes) -> None:
    """The parser raises nothing but MalformedJson."""
    check_parsed(body, "ref")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_payload_gives_an_event_or_malformed_json(data: st.DataObject) -> None:
    """A good payload that is cut, or has bytes changed, does no harm, either."""
    body = bytearray(json.dumps({"event": "booking_created", "booking": FULL}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    check_parsed(bytes(body), "ref")


KIB_256 = 256 * 1024


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"a": "x" * KIB_256}).encode(),
        json.dumps({"a": "%2" * (KIB_256 // 2)}).encode(),
        json.dumps({"a": "abcd " * (KIB_256 // 5)}).encode(),
        json.dumps({"a": " ".join(f"t{n:05}" for n in range(KIB_256 // 7))}).encode(),
        b'{"a":[' + b"[]," * (KIB_256 // 3) + b"1]}",
        b'{"a":[' + b"9," * (KIB_256 // 2) + b"1]}",
        b'{"a":' + b"9" * KIB_256 + b"}",
        ('{"a":"' + "é<" * (KIB_256 // 3) + '"}').encode(),
        b'{"webhook":' * 60 + b"{}" + b"}" * 60,
    ],
)
def test_the_largest_webhook_takes_bounded_time(body: bytes) -> None:
    """256 KiB of the worst kind are verified and parsed well within a second."""
    started = time.process_time()
    with pytest.raises(BadSignature):
        verify("secret", body, ["sha256=" + "0" * 64])
    with contextlib.suppress(MalformedJson):
        webhooks.parse(body, "ref")
    assert time.process_time() - started < 5.0  # however busy the machine is
