"""Test signatures of webhooks: an exact table, what the worst bodies cost, and where."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.errors import BadSignature
from pool.providers import Verifier, signatures
from pool.providers.signatures import ESCAPED_MOST_BYTES, ESCAPED_MOST_SIGNS, verify
from pool.providers.verifying import AT_ONCE_BYTES

SECRET = "secret-of-the-webhook"


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


PLAIN = b'{"event":"booking_created","booking":{"sid":"b1"}}'
RAW = '{"event":"booking_created","booking":{"name":"Zoë <&> 🎉 \u2028"}}'.encode()
ESCAPED = (
    b'{"event":"booking_created","booking":'
    b'{"name":"Zo\\u00eb \\u003c\\u0026\\u003e \\ud83c\\udf89 \\u2028"}}'
)
SHOUTED = ESCAPED.replace(b"\\u00eb", b"\\u00EB")
HALF = RAW.replace(b"<&>", b"\\u003c\\u0026\\u003e")
# As Rails writes it: what HTML would misread is escaped, other letters are left.
FOR_HTML = (
    '{"event":"booking_created","booking":{"name":"Zoë \\u003c\\u0026\\u003e 🎉 \\u2028"}}'
).encode()
RESERIALISED = json.dumps(json.loads(PLAIN)).encode()
REORDERED = b'{"booking":{"sid":"b1"},"event":"booking_created"}'
NOT_UTF8 = b'{"event":"\xff<"}'
GOOD = sign(PLAIN)

ACCEPTED = {
    "the bytes that arrived": (PLAIN, GOOD),
    "hex in capitals": (PLAIN, "sha256=" + GOOD[7:].upper()),
    "hex in both cases": (PLAIN, GOOD[:40] + GOOD[40:].upper()),
    "raw body, hashed raw": (RAW, sign(RAW)),
    "raw body, hashed escaped": (RAW, sign(ESCAPED)),
    "escaped body, hashed escaped": (ESCAPED, sign(ESCAPED)),
    "partly escaped body, hashed escaped": (HALF, sign(ESCAPED)),
    "raw body, hashed escaped for HTML": (RAW, sign(FOR_HTML)),
    "escaped for HTML, hashed escaped for HTML": (FOR_HTML, sign(FOR_HTML)),
    "escaped for HTML, hashed escaped": (FOR_HTML, sign(ESCAPED)),
    "bytes that are not UTF-8": (NOT_UTF8, sign(NOT_UTF8)),
    "an empty body": (b"", sign(b"")),
}
REFUSED = {
    "no header": (PLAIN, []),
    "two headers, both right": (PLAIN, [GOOD, GOOD]),
    "two headers, one right": (PLAIN, [GOOD, sign(b"x")]),
    "two values in one header": (PLAIN, [f"{GOOD}, {GOOD}"]),
    "an empty header": (PLAIN, [""]),
    "another secret": (PLAIN, [sign(PLAIN, "other")]),
    "an empty secret": (PLAIN, [sign(PLAIN, "")]),
    "another body": (PLAIN + b" ", [GOOD]),
    "the last digit wrong": (PLAIN, [GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1")]),
    "without the prefix": (PLAIN, [GOOD[7:]]),
    "prefix in capitals": (PLAIN, ["SHA256=" + GOOD[7:]]),
    "another method": (PLAIN, ["sha1=" + hmac.new(b"x", PLAIN, hashlib.sha1).hexdigest()]),
    "cut short": (PLAIN, [GOOD[:-2]]),
    "too long": (PLAIN, [GOOD + "00"]),
    "a space before": (PLAIN, [" " + GOOD]),
    "a line end after": (PLAIN, [GOOD + "\n"]),
    "letters that are not ASCII": (PLAIN, ["sha256=" + "ä" * 64]),
    "digits that are not ASCII": (PLAIN, ["sha256=" + "٣" * 64]),
    "a lone surrogate": (PLAIN, ["sha256=" + "\ud800" * 64]),
    "written again with spaces": (PLAIN, [sign(RESERIALISED)]),
    "written again in another order": (PLAIN, [sign(REORDERED)]),
    "only <, > and & escaped": (RAW, [sign(HALF)]),
    "all but <, > and & escaped": (RAW, [sign(ESCAPED.replace(b"\\u003c", b"<"))]),
    "escaped for HTML, hashed raw": (FOR_HTML, [sign(RAW)]),
    "escaped, hashed escaped for HTML": (ESCAPED, [sign(FOR_HTML)]),
    "control characters, hashed escaped": (b'"\x01<"', [sign(b'"\x01\\u003c"')]),
    "escaped with hex in capitals": (RAW, [sign(SHOUTED)]),
    "escaped body, hashed raw": (ESCAPED, [sign(RAW)]),
    "not UTF-8, hashed with replacement": (NOT_UTF8, [sign(b'{"event":"\\ufffd\\u003c"}')]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_these_signatures_are_accepted(case: str) -> None:
    """One header, signed with the right secret, over the raw or the escaped bytes is accepted.

    The same header is refused for another secret.
    """
    body, signature = ACCEPTED[case]
    verify(SECRET, body, [signature])
    with pytest.raises(BadSignature):
        verify("another", body, [signature])


@pytest.mark.parametrize("case", REFUSED)
def test_these_signatures_are_refused(case: str) -> None:
    """The error mentions neither the secret nor the right value."""
    body, signatures = REFUSED[case]
    with pytest.raises(BadSignature) as caught:
        verify(SECRET, body, signatures)
    assert SECRET not in str(caught.value)
    assert sign(body)[7:] not in str(caught.value)


@given(st.binary(max_size=200), st.lists(st.text(max_size=80), max_size=3))
def test_no_signature_raises_anything_but_a_refusal(body: bytes, signatures: list[str]) -> None:
    """Any bytes and any header text are refused in the one documented way."""
    with pytest.raises(BadSignature):
        verify(SECRET, body, signatures)


@given(st.text())
def test_escaping_is_what_json_itself_would_write(text: str) -> None:
    """The escaped form of a JSON string is the ASCII form, plus the three HTML characters."""
    # Lone surrogates are not UTF-8; DEL is ASCII, though json.dumps escapes it, too.
    text = text.encode("utf-8", "ignore").decode().replace("\x7f", "")
    raw = json.dumps(text, ensure_ascii=False).encode()
    ascii_only = json.dumps(text)
    for each in "<>&":
        ascii_only = ascii_only.replace(each, f"\\u{ord(each):04x}")
    verify(SECRET, raw, [sign(ascii_only.encode())])
    with pytest.raises(BadSignature):
        verify(SECRET, raw, [sign(ascii_only.encode() + b" ")])


@given(st.text())
def test_the_readings_are_those_of_the_whole_text(text: str) -> None:
    """The text may have any length, and be cut anywhere to be read piece by piece."""
    text = "".join(each for each in text if each >= " " or each in "\t\n\r")
    text = text.encode("utf-8", "ignore").decode() * 3
    html = ascii_only = text
    for each in "<>&\u2028\u2029":
        html = html.replace(each, f"\\u{ord(each):04x}")
    ascii_only = "".join(each if each < "\x80" else json.dumps(each)[1:-1] for each in html)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "_CHUNK_CHARACTERS", 7)
        for reading in (text, html, ascii_only):
            verify(SECRET, text.encode(), [sign(reading.encode())])
            with pytest.raises(BadSignature):
                verify(SECRET, text.encode(), [sign(reading.encode() + b"x")])


def test_a_secret_and_the_one_before_it_are_both_taken() -> None:
    """Both are accepted while the previous one is configured, and not afterwards."""
    for body, signed in ((RAW, RAW), (RAW, ESCAPED), (RAW, FOR_HTML)):
        verify("new", body, [sign(signed, "old")], previous="old")
        verify("new", body, [sign(signed, "new")], previous="old")
        with pytest.raises(BadSignature):
            verify("new", body, [sign(signed, "old")])
        with pytest.raises(BadSignature):
            verify("new", body, [sign(signed, "older")], previous="old")


@pytest.mark.parametrize("letter", ["a", "<", "&", "\u2028", "é", "漢", "🎉"])
def test_an_escaped_form_is_tried_up_to_its_limits(letter: str) -> None:
    """The bytes that arrived are always tried, whatever their number."""
    most = ESCAPED_MOST_BYTES // len(letter.encode())
    if letter in "<&\u2028":
        most = min(most, ESCAPED_MOST_SIGNS)
    for count, escaped in ((most, True), (most + 1, False), (250_000, False)):
        body = (letter * count).encode()
        verify(SECRET, body, [sign(body)])
        form = json.dumps(letter * count)[1:-1].replace("<", "\\u003c").replace("&", "\\u0026")
        if letter != "a":
            with contextlib.nullcontext() if escaped else pytest.raises(BadSignature):
                verify(SECRET, body, [sign(form.encode())])


WORST = ["éa", '"é', "🎉<", "\u2028a", '\\"', "é\\", "&", "&&&&&&&é", '\n\t"é', "漢", '<>&é"\\']


@pytest.mark.parametrize("size", [AT_ONCE_BYTES, ESCAPED_MOST_BYTES, 256 * 1024])
@pytest.mark.parametrize("unit", WORST)
def test_no_body_costs_more_than_hashing_it_a_few_times(unit: str, size: int) -> None:
    """No step is taken letter by letter, whatever letters a stranger fills the body with."""
    whole = (unit * size).encode()[: size - 16]
    # Some letters are escaped in both forms only if they are few.
    bodies = [whole]
    if signs := sum(unit.count(each) for each in "<>&\u2028"):
        few = (unit * (ESCAPED_MOST_SIGNS // signs)).encode()
        bodies.append(few + b"e" * (len(whole) - len(few)))
    for body in bodies:
        body = body[: size - 16].decode("utf-8", "ignore").encode()

        def verified(body: bytes = body) -> None:
            with contextlib.suppress(BadSignature):
                verify(SECRET, body, [sign(b"x")])

        # Counted, so that a busy machine changes nothing: about 20 letters pass in each step.
        assert 0 < _steps(verified) < 1_500 + len(body.decode()) / 16
        # Measured: 50 times at most where escaped forms are tried, and once where they are not.
        hashed = _cpu_seconds(lambda body=body: hashlib.sha256(body).digest())  # type: ignore[misc]
        assert _cpu_seconds(verified) < (100 if size <= ESCAPED_MOST_BYTES else 8) * hashed


def test_the_worst_body_costs_as_much_as_hashing_the_largest_a_few_times() -> None:
    """The largest webhook has 256 KiB; a stranger gains little by sending another."""
    hashed = _cpu_seconds(lambda: hashlib.sha256(bytes(256 * 1024)).digest())
    for unit in WORST:
        body = (unit * ESCAPED_MOST_BYTES).encode()[: ESCAPED_MOST_BYTES - 16]
        body = body.decode("utf-8", "ignore").encode()

        def verified(body: bytes = body) -> None:
            with contextlib.suppress(BadSignature):
                verify(SECRET, body, [sign(b"x")])

        assert _cpu_seconds(verified) < 16 * hashed


def _steps(work: Callable[[], object]) -> int:
    """Count the bytecode instructions that this takes in Python."""
    steps = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Return the least of five times that this thread computed, waiting for a core not counted."""
    taken = []
    for _ in range(5):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return min(taken)


class Slow:
    """A provider that notes where it verified."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def verify(self, body: bytes, signatures: Sequence[str]) -> None:
        self.threads.append(threading.get_ident())
        verify(SECRET, body, signatures)


@pytest.mark.parametrize("size", [AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 256 * 1024])
async def test_large_bodies_are_verified_beside_the_loop(size: int) -> None:
    """Signed or not; small ones are not worth the way."""
    provider, verifier, body = Slow(), Verifier(), b"x" * size
    await verifier.verify(provider, body, [sign(body)])  # type: ignore[arg-type]
    with pytest.raises(BadSignature):
        await verifier.verify(provider, body, [sign(b"y")])  # type: ignore[arg-type]
    beside = threading.get_ident() not in provider.threads
    assert len(provider.threads) == 2
    assert beside == (size > AT_ONCE_BYTES)


async def test_no_large_body_is_refused_because_others_wait() -> None:
    """A genuine one may come while many wrong ones wait, perhaps from the same address."""
    provider, verifier, body = Slow(), Verifier(), b"x" * 256 * 1024
    outcomes = await asyncio.gather(
        *(
            verifier.verify(provider, body, [sign(b"y" if number % 2 else body)])  # type: ignore[arg-type]
            for number in range(200)
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [type(None), BadSignature] * 100
