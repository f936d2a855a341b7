"""Customers who claim at a steady rate, for little CPU, over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from typing import cast

import uvloop

from tests.acceptance.product import wait_until

PATIENCE_SECONDS = 30.0  # for an answer
_TICK_SECONDS = 0.005
_NEW_EVERY = 10  # every tenth claim is of a new customer
_KNOWN = 50  # the others are of so few customers


class SteadyCrowd:
    """Customers who claim `rate` times a second, each connection one request at a time.

    What is late is made up for as soon as a connection is free, so that a server that stops for a
    second meets those of that second afterwards, too.
    """

    def __init__(self, port: int, sid: str, key: str, rate: float) -> None:
        self.answers: Counter[str] = Counter()
        self.slowest_seconds = 0.0
        self._port, self._rate = port, rate
        self._connections = max(4, min(256, int(rate / 10)))
        self._ended = threading.Event()
        self._began = self._stopped = 0.0
        self._head = (
            f"POST /v1/meetings/{sid}/claims HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n"
            "content-type: application/json\r\ncontent-length: "
        ).encode()
        self._known = [self._request(f"known-{number}") for number in range(_KNOWN)]
        self._thread = threading.Thread(target=lambda: uvloop.run(self._all()), daemon=True)

    def __enter__(self) -> SteadyCrowd:
        self._thread.start()
        try:
            wait_until(lambda: self.claimed > self._connections, what="claims are answered")
        except BaseException:
            self._ended.set()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def claimed(self) -> int:
        """Return how many claims got a link."""
        return self.answers["200"] + self.answers["201"]

    @property
    def failed(self) -> dict[str, int]:
        """Return what else was answered, and how often."""
        return {what: count for what, count in self.answers.items() if what not in ("200", "201")}

    @property
    def per_second(self) -> float:
        """Return how many claims got a link in a second, on the whole."""
        return self.claimed / ((self._stopped or time.monotonic()) - self._began)

    async def _all(self) -> None:
        idle: deque[_Line] = deque()
        lines = [_Line(self, idle) for _ in range(self._connections)]
        idle.extend(lines)
        self._began = time.monotonic()
        sent = 0
        while not self._ended.is_set():
            now = time.monotonic()
            due = int((now - self._began) * self._rate) - sent
            for _ in range(min(due, len(idle))):
                idle.popleft().send(self.request(sent), now)
                sent += 1
            for line in lines:
                line.give_up(now - PATIENCE_SECONDS)
            await asyncio.sleep(_TICK_SECONDS)
        while len(idle) < len(lines):
            for line in lines:
                line.give_up(time.monotonic() - PATIENCE_SECONDS)
            await asyncio.sleep(_TICK_SECONDS)
        self._stopped = time.monotonic()
        for line in lines:
            line.close()

    def request(self, number: int) -> bytes:
        """Return the bytes of the claim with this number."""
        if number % _NEW_EVERY == 0:
            return self._request(f"new-{number}")
        return self._known[number % _KNOWN]

    def _request(self, customer: str) -> bytes:
        body = json.dumps({"customer_id": customer}).encode()
        return self._head + b"%d\r\n\r\n%b" % (len(body), body)

    def answered(self, what: str, seconds: float) -> None:
        """Count an answer, or the error that came in its place."""
        self.answers[what] += 1
        self.slowest_seconds = max(self.slowest_seconds, seconds)

    async def open(self, line: _Line) -> None:
        """Connect a line."""
        await asyncio.get_running_loop().create_connection(lambda: line, "127.0.0.1", self._port)


class _Line(asyncio.Protocol):
    """One connection. It is opened when first needed, and again when the server has closed it."""

    def __init__(self, crowd: SteadyCrowd, idle: deque[_Line]) -> None:
        self._crowd, self._idle = crowd, idle
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._request, self._read = b"", b""
        self._sent_at: float | None = None  # while an answer is awaited

    def send(self, request: bytes, now: float) -> None:
        """Send a request, on a new connection if there is none."""
        self._request, self._read, self._sent_at = request, b"", now
        if self._transport is not None:
            self._transport.write(request)
            return
        self._opening = asyncio.create_task(self._crowd.open(self))
        self._opening.add_done_callback(self._opened)

    def give_up(self, before: float) -> None:
        """Count a time-out if the answer has been awaited since before that time."""
        if self._sent_at is not None and self._sent_at < before:
            self._end("TimeoutError")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled() and (error := opening.exception()) is not None:
            self._end(type(error).__name__)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        ends = self._read.find(b"\r\n\r\n")
        if ends < 0:
            return
        head = self._read[:ends].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._read) >= ends + 4 + length:
            self._end(head.split(None, 2)[1].decode(), keep=b"connection: close" not in head)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._sent_at is not None:
            self._end(type(error or EOFError()).__name__)

    def _end(self, what: str, *, keep: bool = False) -> None:
        if self._sent_at is None:
            return
        seconds, self._sent_at = time.monotonic() - self._sent_at, None
        if not keep:
            self.close()
        self._crowd.answered(what, seconds)
        self._idle.append(self)
