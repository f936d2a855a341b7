"""Run trial 20: malformed requests, and hundreds of clients that hardly send at all."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import ExitStack, suppress

import msgspec

from pool.access.api_keys import Scope, make_key
from pool.api.server.slow_clients import BODY_SECONDS, HEAD_SECONDS, SWEEP_SECONDS
from pool.compose import Parts
from tests.trials.claims import static
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.harness.wire import Reply, exchange, read, request

FULL = 500
QUICK_SECONDS = 2.0  # a claim's deadline, whoever else is connected
KIB = 1024
MIB = 1024 * KIB
Wanted = tuple[int, str]

INVALID_ID = (422, "invalid-customer-id")
INVALID = (422, "invalid-request")
MALFORMED = (400, "malformed-json")
NO_HTTP = (400, "malformed-request")
LARGE = (413, "too-large")
NOWHERE = (404, "unknown-meeting")
NEW = (201, "")


def customer(text: str) -> bytes:
    """Return a claim's body."""
    return msgspec.json.encode({"customer_id": text})


# Bodies of claims.
BODIES: dict[str, tuple[bytes, Wanted]] = {
    "a customer id of 1 MB": (customer("x" * MIB), LARGE),
    "one character too many": (customer("x" * 257), INVALID_ID),
    "as many as fit": (customer("x" * 256), NEW),
    "256 characters of four bytes": (customer("🎉" * 256), NEW),
    "an empty id": (customer(""), INVALID_ID),
    "NUL": (b'{"customer_id": "a\\u0000b"}', INVALID_ID),
    "NUL as it is": (b'{"customer_id": "a\x00b"}', MALFORMED),
    "escape sequences": (b'{"customer_id": "\\u001b[2J"}', INVALID_ID),
    "a lone surrogate": (b'{"customer_id": "\\ud800"}', MALFORMED),
    "a lone surrogate in bytes": (b'{"customer_id": "\xed\xa0\x80"}', MALFORMED),
    "half of a character": (b'{"customer_id": "\xf0\x9f"}', MALFORMED),
    "an overlong slash": (b'{"customer_id": "\xc0\xaf"}', MALFORMED),
    "UTF-16": ('{"customer_id": "x"}'.encode("utf-16"), MALFORMED),
    "a byte order mark": (b'\xef\xbb\xbf{"customer_id": "x"}', MALFORMED),
    "lists, 8,000 deep": (b"[" * 8_000, MALFORMED),
    "metadata, 8,000 deep": (
        b'{"customer_id":"deep","metadata":{"a":' + b"[" * 8_000 + b"]" * 8_000 + b"}}",
        MALFORMED,
    ),
    # Deep enough to be too deep for a worker, though not for the API: one such claim that
    # cannot be recorded would stand before all others.
    "metadata, 950 deep": (
        b'{"customer_id":"deep","metadata":{"a":' + b"[" * 950 + b"]" * 950 + b"}}",
        INVALID,
    ),
    "metadata, 33 deep": (
        b'{"customer_id":"deep","metadata":{"a":' + b"[" * 32 + b"1" + b"]" * 32 + b"}}",
        INVALID,
    ),
    "metadata, 32 deep": (
        b'{"customer_id":"32","metadata":{"a":' + b"[" * 31 + b"1" + b"]" * 31 + b"}}",
        NEW,
    ),
    "metadata, the largest numbers": (
        b'{"customer_id":"largest","metadata":{"a":18446744073709551615,'
        b'"b":-9223372036854775808,"c":1.7976931348623157e308}}',
        NEW,
    ),
    "metadata, a large number": (
        b'{"customer_id":"large","metadata":{"a":18446744073709551616}}',
        INVALID,
    ),
    "metadata, a larger number": (
        b'{"customer_id":"larger","metadata":{"a":-' + b"9" * 300 + b"}}",
        INVALID,
    ),
    "no number of keys": (
        b'{"customer_id":"keys","metadata":{' + b'"a":1,' * 2_000 + b'"a":1}}',
        NEW,  # the last one counts, as everywhere in JSON
    ),
    "an id twice": (b'{"customer_id": "first", "customer_id": "second"}', NEW),
    "an id twice, the last one bad": (b'{"customer_id": "x", "customer_id": ""}', INVALID_ID),
    "NaN": (b'{"customer_id": "x", "metadata": {"a": NaN}}', MALFORMED),
    "a number out of range": (b'{"customer_id": "x", "metadata": {"a": 1e999}}', INVALID),
    "10,000 digits": (b'{"customer_id":"x","metadata":{"a":' + b"9" * 10_000 + b"}}", INVALID),
    "two objects": (customer("x") * 2, MALFORMED),
    "an object's prototype": (b'{"__proto__": {"customer_id": "x"}}', INVALID),
    "markup": (customer("<script>alert(1)</script>"), NEW),
    "SQL": (customer("'; DROP TABLE links; --"), NEW),
    "a path": (customer("../../etc/passwd"), NEW),
    "a Redis key": (customer("lp:{demo}:fresh"), NEW),
    "spaces and marks": (customer(" \u202e\u200b "), NEW),
}
# SIDs in the path, as they are sent.
SIDS: dict[str, tuple[bytes, Wanted]] = {
    "braces": (b"{}", NOWHERE),
    "braces, escaped": (b"%7B%7D", NOWHERE),
    "dots": (b"..", NOWHERE),
    "dots, escaped": (b"%2e%2e", NOWHERE),
    "a slash, escaped": (b"..%2Fdemo", (404, "not-found")),
    "NUL": (b"a%00", NOWHERE),
    "a line end": (b"demo%0d%0aX:y", NOWHERE),
    "a line end at the end": (b"demo%0a", NOWHERE),
    "another meeting's keys": (b"a%7D:fresh%7B", NOWHERE),
    "bytes that are no text": (b"%ff%fe", NOWHERE),
    "half an escape": (b"%", NOWHERE),
    "65 characters": (b"x" * 65, NOWHERE),
    "7 KiB": (b"x" * 7 * KIB, NOWHERE),
    "8 KiB and the rest of the path": (b"x" * 8 * KIB, (431, "headers-too-large")),
    "64 KiB": (b"x" * 64 * KIB, (431, "headers-too-large")),
    "a space": (b"a b", NO_HTTP),
    "a byte beyond ASCII": (b"\xc3\xa4", NO_HTTP),
}


def inputs(stage: Stage, seed: int, size: int) -> Outcome:
    """20: every odd input is answered as the contract says, and `size` slow clients slow nobody."""
    sid = static(stage, "20", seed, 500 + 4 * size)
    port = stage.server_ports[0]
    made, kept = make_key(frozenset({Scope.ADMIN.value}), None, "trial 20")
    stage.work(lambda parts: _keep(parts, kept))
    key = (b"X-API-Key", made.encode())
    path = b"/v1/meetings/" + sid.encode() + b"/claims"
    deadline = time.monotonic() + 10
    while exchange(port, request(b"GET", b"/v1/meetings", key)).status == 401:
        assert time.monotonic() < deadline, "the API does not learn of the key"
        time.sleep(0.1)

    wrong: list[str] = []
    accepted: set[str] = set()
    asked = 0

    def judge(case: str, reply: Reply, wanted: Wanted) -> None:
        nonlocal asked
        asked += 1
        if (reply.status, reply.problem) != wanted:
            wrong.append(f"{case}: {reply.status} {reply.problem or reply.body[:80]!r}")
        if not reply.headers.get("x-request-id"):
            wrong.append(f"{case}: no request id")
        if reply.status == 201:
            accepted.add(msgspec.json.decode(reply.body)["claim"]["customer_id"])

    for case, (body, wanted) in BODIES.items():
        # On the short cut, and through the framework, which a query makes it take.
        judge(case, exchange(port, request(b"POST", path, key, body=body)), wanted)
        again = (200, "") if wanted == NEW else wanted
        judge(
            f"{case}, again", exchange(port, request(b"POST", path + b"?", key, body=body)), again
        )
    for case, (escaped, wanted) in SIDS.items():
        odd = b"/v1/meetings/" + escaped + b"/claims"
        judge(case, exchange(port, request(b"POST", odd, key, body=customer("x"))), wanted)
    chunked = request(b"POST", path, key, (b"Transfer-Encoding", b"chunked"))
    endless = exchange(port, chunked, then=b"1000\r\n" + b" " * 4096 + b"\r\n", times=100)
    judge("chunked without end", endless, LARGE)
    bytewise = exchange(port, chunked, then=b"1\r\n \r\n", times=17 * KIB)
    judge("chunked without end, byte by byte", bytewise, LARGE)

    wrong += _slow(port, path, key, seed, size)
    stage.quiet(sid)  # whatever was accepted can be recorded
    recorded = stage.rows("SELECT customer_id FROM links WHERE meeting_sid = ?", sid)
    missing = {customer for customer in accepted if (customer,) not in recorded}
    if missing:
        wrong.append(f"claimed, but not in the ledger: {missing}")
    return Outcome("20", seed, asked, size, wrong=tuple(wrong))


async def _keep(parts: Parts, kept: object) -> None:
    await parts.ledger.keys.add(kept)  # type: ignore[arg-type]


def _slow(port: int, path: bytes, key: tuple[bytes, bytes], seed: int, size: int) -> list[str]:
    """Run slow clients of every kind, and quick ones meanwhile. Return what went wrong."""
    rng = random.Random(seed)
    whole = request(b"POST", path, key, body=customer("slow"))
    body_at = whole.index(b"\r\n\r\n") + 4
    starts = (b"", whole[:1], whole[: body_at - 2], whole[:body_at], whole[: body_at + 5])
    wrong: list[str] = []
    with ExitStack() as held:
        slow = []
        for _ in range(size):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(rng.choice(starts))
            slow.append(client)
        began = time.monotonic()
        over = threading.Event()
        held.callback(over.set)
        threading.Thread(target=_drip, args=(slow[::3], over), daemon=True).start()
        slowest = 0.0
        for number in range(200):
            asked_at = time.monotonic()
            body = customer(f"quick-{number}")
            reply = exchange(port, request(b"POST", path, key, body=body))
            slowest = max(slowest, time.monotonic() - asked_at)
            if reply.status != 201:
                wrong.append(f"a quick client beside {size} slow ones: {reply.status}")
        if slowest > QUICK_SECONDS:
            wrong.append(f"a quick client waited {slowest:.1f} s beside {size} slow ones")
        if size >= FULL:  # the patience itself is measured in tests/integration
            patience = HEAD_SECONDS + BODY_SECONDS + 3 * SWEEP_SECONDS
            for number, client in enumerate(slow):
                status = read(client).status
                # What was dripped may have made it no HTTP, or a body that is no JSON.
                expected = (408, 400) if number % 3 == 0 else (408,)
                if status not in expected or time.monotonic() - began > patience:
                    wrong.append(f"a slow client: {status} after {time.monotonic() - began:.0f} s")
    return wrong


def _drip(clients: list[socket.socket], over: threading.Event) -> None:
    while not over.wait(0.5):
        for client in clients:
            with suppress(OSError):
                client.sendall(b"x")


TRIALS = [Trial("20", "odd inputs and slow clients", inputs, full=FULL, bounded=200)]
