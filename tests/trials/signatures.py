"""Run trial 19: webhooks over HTTP that are taken in, and those that are not."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import random
from ipaddress import ip_address

from tests.trials.harness.stage import WEBHOOK_SECRET, Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.harness.wire import Reply, exchange, request

_visitors = itertools.count(int(ip_address("198.18.0.1")))

HEADER = b"X-Neeto-Webhook-Signature"

PLAIN = b'{"event":"trial","booking":{"sid":"b1"}}'
RAW = '{"event":"trial","booking":{"name":"Zoë <&> 🎉"}}'.encode()
ESCAPED = b'{"event":"trial","booking":{"name":"Zo\\u00eb \\u003c\\u0026\\u003e \\ud83c\\udf89"}}'
HALF = RAW.replace(b"<&>", b"\\u003c\\u0026\\u003e")
FOR_HTML = '{"event":"trial","booking":{"name":"Zoë \\u003c\\u0026\\u003e 🎉"}}'.encode()
SPACED = json.dumps(json.loads(PLAIN)).encode()
REORDERED = b'{"booking":{"sid":"b1"},"event":"trial"}'
NOT_UTF8 = b'{"event":"\xff<"}'


def sign(body: bytes, secret: str = WEBHOOK_SECRET) -> bytes:
    """Return the header's value, as the provider makes it."""
    return b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()


GOOD = sign(PLAIN)
LAST = b"0" if GOOD[-1:] != b"0" else b"1"

# What was sent: body, values of the header. What must come back: status, problem.
TAKEN = (202, "")
REFUSED = (401, "bad-signature")
NO_HTTP = (400, "malformed-request")
Row = tuple[bytes, list[bytes], tuple[int, str]]
TABLE: dict[str, Row] = {
    "the bytes that arrived": (PLAIN, [GOOD], TAKEN),
    "hex in capitals": (PLAIN, [b"sha256=" + GOOD[7:].upper()], TAKEN),
    "hex in both cases": (PLAIN, [GOOD[:40] + GOOD[40:].upper()], TAKEN),
    "raw body, hashed raw": (RAW, [sign(RAW)], TAKEN),
    "raw body, hashed escaped": (RAW, [sign(ESCAPED)], TAKEN),
    "escaped body, hashed escaped": (ESCAPED, [sign(ESCAPED)], TAKEN),
    "partly escaped body, hashed escaped": (HALF, [sign(ESCAPED)], TAKEN),
    "raw body, hashed escaped for HTML": (RAW, [sign(FOR_HTML)], TAKEN),
    "spaces before, which HTTP does not count": (PLAIN, [b" \t " + GOOD], TAKEN),
    "signed, but not UTF-8": (NOT_UTF8, [sign(NOT_UTF8)], TAKEN),
    "signed, but empty": (b"", [sign(b"")], TAKEN),
    "signed, but a list": (b"[]", [sign(b"[]")], TAKEN),
    "no header": (PLAIN, [], REFUSED),
    "an empty header": (PLAIN, [b""], REFUSED),
    "two headers, both right": (PLAIN, [GOOD, GOOD], REFUSED),
    "two headers, the first right": (PLAIN, [GOOD, sign(b"x")], REFUSED),
    "two headers, the last right": (PLAIN, [sign(b"x"), GOOD], REFUSED),
    "two headers, one empty": (PLAIN, [GOOD, b""], REFUSED),
    "two values in one header": (PLAIN, [GOOD + b", " + GOOD], REFUSED),
    "another secret": (PLAIN, [sign(PLAIN, "another")], REFUSED),
    "an empty secret": (PLAIN, [sign(PLAIN, "")], REFUSED),
    "another body": (PLAIN + b" ", [GOOD], REFUSED),
    "the last digit wrong": (PLAIN, [GOOD[:-1] + LAST], REFUSED),
    "without the prefix": (PLAIN, [GOOD[7:]], REFUSED),
    "prefix in capitals": (PLAIN, [b"SHA256=" + GOOD[7:]], REFUSED),
    "a space after": (PLAIN, [GOOD + b" "], REFUSED),
    "a space within": (PLAIN, [b"sha256= " + GOOD[7:]], REFUSED),
    "another method": (
        PLAIN,
        [b"sha1=" + hmac.new(WEBHOOK_SECRET.encode(), PLAIN, "sha1").hexdigest().encode()],
        REFUSED,
    ),
    "cut short": (PLAIN, [GOOD[:-2]], REFUSED),
    "too long": (PLAIN, [GOOD + b"00"], REFUSED),
    "letters that are not ASCII": (PLAIN, [b"sha256=" + "ä".encode() * 64], REFUSED),
    "bytes that are no text": (PLAIN, [b"sha256=" + b"\xff\xfe" * 32], REFUSED),
    "digits that are not ASCII": (PLAIN, [b"sha256=" + "٣".encode() * 64], REFUSED),
    "written again with spaces": (SPACED, [GOOD], REFUSED),
    "written again in another order": (REORDERED, [GOOD], REFUSED),
    "escaped with hex in capitals": (
        RAW,
        [sign(ESCAPED.replace(b"\\u00eb", b"\\u00EB"))],
        REFUSED,
    ),
    "all but < escaped": (RAW, [sign(ESCAPED.replace(b"\\u003c", b"<"))], REFUSED),
    "escaped body, hashed for HTML": (ESCAPED, [sign(FOR_HTML)], REFUSED),
    "escaped body, hashed raw": (ESCAPED, [sign(RAW)], REFUSED),
    "no JSON and no signature": (b"nonsense", [], REFUSED),
    "a NUL in the header": (PLAIN, [GOOD + b"\x00"], NO_HTTP),
    "a line end in the header": (PLAIN, [GOOD + b"\n" + GOOD], NO_HTTP),
}


def deliver(port: int, body: bytes, signatures: list[bytes]) -> Reply:
    """Send one webhook."""
    headers = [(HEADER, each) for each in signatures]
    # Each from an address of its own: wrong signatures are limited by address.
    headers.append((b"X-Forwarded-For", str(ip_address(next(_visitors))).encode()))
    return exchange(port, request(b"POST", b"/v1/webhooks/default", *headers, body=body))


def signatures(stage: Stage, seed: int, size: int) -> Outcome:
    """19: every row of the table, and random damage, which is refused without exception."""
    rng = random.Random(seed)
    port = stage.server_ports[0]
    wrong = []
    accepted = set()
    secret = WEBHOOK_SECRET.encode()
    for case, (body, values, wanted) in TABLE.items():
        reply = deliver(port, body, values)
        if (reply.status, reply.problem) != wanted:
            wrong.append(f"{case}: {reply.status} {reply.problem}, not {wanted}")
        if secret in reply.body or sign(body)[7:] in reply.body:
            wrong.append(f"{case}: the answer gives the secret or the signature away")
        if wanted == TAKEN:
            accepted.add(body)
    for _ in range(size):
        body, value = bytearray(PLAIN), bytearray(GOOD)
        part = rng.choice((body, value))
        bit = rng.randrange(8 * len(part))
        part[bit // 8] ^= 1 << (bit % 8)
        if bytes(value).lower() == GOOD and bytes(body) == PLAIN:
            continue  # another case of a hex digit is the same digit
        reply = deliver(port, bytes(body), [bytes(value)])
        if (reply.status, reply.problem) not in (REFUSED, NO_HTTP):
            wrong.append(f"damaged to {bytes(value)!r} {bytes(body)!r}: {reply.status}")
    kept = {
        bytes(body) for (body,) in stage.rows("SELECT body FROM inbox WHERE event IN ('trial', '')")
    }
    if kept != accepted:
        wrong.append(f"in the inbox but not accepted, or the other way: {kept ^ accepted}")
    return Outcome("19", seed, len(TABLE) + size, size, wrong=tuple(wrong))


TRIALS = [Trial("19", "signatures, right and wrong", signatures, full=5_000, bounded=300)]
