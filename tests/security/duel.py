"""Run two clients behind one proxy: an honest one that counts its answers, and a hostile one."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter

from tests.security.table import CLAIM, CLAIMS, KEY, LIVEZ, NOWHERE, ROWS, SID, request

ANSWER_SECONDS = 10.0
HOSTILE_SECONDS = 0.2  # it does not wait long for answers
_IDENTITY = re.compile(rb"\r\nx-request-id: ([^\r]*)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: foo"
# The head of a request that the next one on the connection would complete, with its key.
_HALF = (
    b"POST /v1/meetings/" + SID + b"/pause HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\nX-A: "
)


def _inner(sent: bytes) -> bytes:
    return b"hostile" if sent.startswith(b"CONNECT") else b"smuggled"


_ATTACKS = [
    request(method, target, offer, body=body, identity=b"hostile")
    for method in (b"POST", b"GET", b"PUT")
    for target in (LIVEZ, NOWHERE, b"/v1/webhooks/nobody", CLAIMS)
    for offer in (
        _UPGRADE,
        _UPGRADE.replace(b"foo", b"websocket"),
        b"Expect: 100-continue",
        b"A: b",
    )
    for body in (_HALF, request(identity=b"smuggled"))
]
_SHORT = [
    # To HAProxy a CONNECT has no body, so that one sends what is in it as a request of its own.
    row.sent.replace(KEY, b"none").replace(b"smuggled", _inner(row.sent))
    for row in ROWS
    if len(row.sent) < 1_200
]


class Duel:
    """The requests sent through a proxy, and what came back wrong."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self._port = port
        self._rng = random.Random(seed)
        self.sent = 0
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._number = 0

    async def fight(self, requests: int, *, honest: int = 3, hostile: int = 3) -> None:
        """Send this many requests in all."""
        clients = [self._honest] * honest + [self._hostile] * hostile
        await asyncio.gather(*(client(requests) for client in clients))

    async def _honest(self, until: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while self.sent < until and len(self.wrong) < 10:
            self._number += 1
            identity = b"honest-%d" % self._number
            key = b"X-API-Key: " + KEY
            claims = self._number % 2
            sent = (
                request(b"POST", CLAIMS, key, body=CLAIM, identity=identity)
                if claims
                else request(b"GET", b"/v1/meetings/" + SID, key, identity=identity)
            )
            self.sent += 1
            try:
                writer.write(sent)
                async with asyncio.timeout(ANSWER_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = _LENGTH.search(head)
                    body = await reader.readexactly(int(length[1]) if length else 0)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                self.counts[f"honest: {type(error).__name__}"] += 1
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                continue
            self._judge(identity, head, body, claims=bool(claims))
            if b"connection: close" in head.lower():
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.close()

    def _judge(self, identity: bytes, head: bytes, body: bytes, *, claims: bool) -> None:
        status, found = head[9:12].decode(), _IDENTITY.search(head)
        self.counts[f"honest: {status}"] += 1
        if found is None:
            if status not in ("502", "503", "504"):  # a proxy's own
                self.wrong.append(f"no id: {head!r}")
        elif found[1] != identity:
            self.wrong.append(f"{identity!r} got {head!r}")
        elif status != "200" or (b'"ann"' in body) is not claims:
            self.wrong.append(f"{identity!r} got {head!r} {body!r}")

    async def _hostile(self, until: int) -> None:
        while self.sent < until and len(self.wrong) < 10:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            said = b""
            try:
                for _ in range(self._rng.randint(1, 4)):
                    self.sent += 1
                    said += await self._attack(reader, writer)
            except OSError:
                self.counts["hostile: cut off"] += 1
            finally:
                writer.close()
            for found in _IDENTITY.finditer(said):
                self.counts["hostile: answered"] += 1
                if found[1].startswith((b"honest", b"smuggled")):
                    self.wrong.append(f"the hostile one got {said!r}")

    async def _attack(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        sent = self._rng.choice(_ATTACKS if self._rng.random() < 0.6 else _SHORT)
        head = sent.find(b"\r\n\r\n") + 4
        place = head if self._rng.random() < 0.5 else self._rng.randrange(len(sent))
        writer.write(sent[:place])
        await writer.drain()
        await asyncio.sleep(self._rng.choice((0, 0.003)))
        writer.write(sent[place:])
        said = b""
        try:
            async with asyncio.timeout(HOSTILE_SECONDS):
                said = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            pass
        except asyncio.IncompleteReadError as cut:
            said = cut.partial
        return said
