"""Mutate rows of the table: every answered request is one that was sent.

h11 reads the same bytes as a judge: what linkpool answers, it must have found, too, in the same
order. `LINKPOOL_SECURITY=long pytest -n 0 tests/security/test_fuzz.py` tries 2,000,000.

Sequences are drawn at random: to have Hypothesis draw them costs six times what it costs to try
them, and a sequence that fails has at most four mutations and needs no shrinking.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re

import h11

from tests.security.client import answers_in
from tests.security.in_process import Server
from tests.security.table import ROWS, SENTINEL, SMUGGLED

_FEW = 16_000 if os.environ.get("CI") else 8_000
SEQUENCES = 2_000_000 if os.environ.get("LINKPOOL_SECURITY") == "long" else _FEW
_SHORT = [row.sent for row in ROWS if len(row.sent) < 1_200]
_TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b"0", b"2", b"+", b"-", b",",
    b":", b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Connection: Upgrade\r\nUpgrade: foo\r\n", b"Host: y\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"1\r\nx\r\n", b"HTTP/1.0",
    b"HTTP/0.9", b"CONNECT ", b"HEAD ", b"http://x", SMUGGLED, SENTINEL, b"X-Request-Id: other\r\n",
]  # fmt: skip
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def sequence(chance: random.Random) -> tuple[bytes, list[int]]:
    """Return one to three rows in a line with up to four mutations and a sentinel behind them, and
    the places where they are cut into pieces.
    """
    data = b"".join(chance.choices(_SHORT, k=chance.randint(1, 3)))
    for _ in range(chance.randint(0, 4)):
        # Both ends are met more often than chance would have it.
        start = min(max(0, chance.randint(-len(data) // 20, len(data) * 21 // 20)), len(data))
        how = chance.choice(("insert", "delete", "replace", "repeat", "swap"))
        size = chance.randint(1, 30)
        piece = data[start : start + size]
        if how == "insert":
            data = data[:start] + chance.choice(_TOKENS) + data[start:]
        elif how == "delete":
            data = data[:start] + data[start + size :]
        elif how == "replace":
            data = data[:start] + chance.randbytes(chance.randint(0, 3)) + data[start + 1 :]
        elif how == "repeat":
            data = data[:start] + piece + data[start:]
        else:
            data = data[:start] + piece[::-1] + data[start + size :]
    return data + SENTINEL, [chance.randint(0, 4_000) for _ in range(chance.randint(0, 3))]


def judged(data: bytes) -> tuple[list[str], bool]:
    """Return the ids of requests whose heads h11 finds, and True if it refused what came then."""
    found: list[str] = []
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    judge.receive_data(data)
    try:
        while True:
            said = judge.next_event()
            if isinstance(said, h11.Request):
                ids = [value for name, value in said.headers if name == b"x-request-id"]
                # Some are answered before their body is there.
                found.append(next((each.decode() for each in ids if _SANE.fullmatch(each)), ""))
            elif isinstance(said, h11.EndOfMessage):
                judge.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                judge.send(h11.EndOfMessage())
                if judge.our_state is h11.MUST_CLOSE:
                    return found, False
                judge.start_next_cycle()
            elif said in (h11.NEED_DATA, h11.PAUSED) or isinstance(said, h11.ConnectionClosed):
                return found, False
    except h11.RemoteProtocolError:
        return found, True


async def answered(server: Server, data: bytes, places: list[int]) -> list[str]:
    """Return the ids of the requests that linkpool answers; "" for one without or of its own."""
    connection = server.connect()
    ends = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    for start, end in itertools.pairwise(ends):
        connection.arrive(data[start:end])
        await server.settle()
    said, ended = bytes(connection.said), connection.ended
    connection.abort()
    await server.settle()
    # Answers to HEAD have no body, and those here never more than this.
    found = answers_in(said.replace(b"content-length: 2\r\n", b"content-length: 0\r\n")
                       .replace(b"\r\n\r\n{}", b"\r\n\r\n"))  # fmt: skip
    found = [each for each in found if each != "100"]
    if ended and found and found[-1] in ("400", "408", "431"):
        found.pop()  # a refusal of what is no request
    return [each.partition(" ")[2] for each in found]


def test_every_answered_request_was_sent() -> None:
    """Every answered request is one that was sent, for any bytes in any pieces."""
    chance = random.Random()  # other sequences in each run
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_server())
    try:
        for _ in range(SEQUENCES):
            data, places = sequence(chance)
            got = loop.run_until_complete(answered(server, data, places))
            known, refused = judged(data)
            common = min(len(got), len(known))
            assert [g for g in got[:common] if g] == [
                k for g, k in zip(got, known, strict=False) if g
            ], (data, places)
            # Nothing is answered behind what h11 took for the end, unless it refused it.
            assert len(got) <= len(known) or refused, (data, places, got, known)
    finally:
        loop.close()


async def _server() -> Server:
    return Server()
