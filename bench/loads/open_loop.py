"""Load at a constant arrival rate, whatever the server does.

    python -m bench.loads.open_loop --template FILE --port N --rate R --seconds S --connections C

Visitors do not wait for each other. A request that finds no free connection waits, and its
latency is counted from the moment it was due, so that a stall shows in every request that
fell into it. Writes one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from bench.loads.request import CUSTOMER, customer_id
from bench.loads.timer import Ticker

WARM_SECONDS = 1.0
_DRAIN_SECONDS = 10.0


class Arrivals:
    """The requests that are due, and the connections that carry them."""

    def __init__(self, template: bytes, run: str, rate: float, seconds: float) -> None:
        self._parts = template.split(CUSTOMER.encode())
        self._run = run
        self._rate = rate
        self._total = int(rate * seconds)
        self._warm = int(rate * min(WARM_SECONDS, seconds / 4))
        self._made = 0
        self._waiting: deque[float] = deque()
        self.idle: deque[Connection] = deque()
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.bad = 0
        self.finished = 0
        self._started = time.perf_counter()

    def tick(self) -> None:
        """Send the requests that are due by now."""
        now = time.perf_counter()
        due = min(self._total, int((now - self._started) * self._rate) + 1)
        while self._made + len(self._waiting) < due:
            number = self._made + len(self._waiting)
            self._waiting.append(self._started + number / self._rate)
        while self._waiting and self.idle:
            self.send(self.idle.popleft())

    def send(self, connection: Connection) -> None:
        """Send the oldest due request on this connection, or keep the connection for later."""
        if not self._waiting:
            self.idle.append(connection)
            return
        due = self._waiting.popleft()
        who = customer_id(self._run, 99, self._made).encode()
        self._made += 1
        self.late.append(time.perf_counter() - due)
        connection.send(who.join(self._parts), due)

    def answered(self, due: float, status: bytes) -> None:
        """Note one answer."""
        self.finished += 1
        if status[:1] != b"2":
            self.bad += 1
        if self.finished > self._warm:
            self.latencies.append(time.perf_counter() - due)

    @property
    def over(self) -> bool:
        """Return True if everything was sent and answered."""
        return self.finished >= self._total


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._transport: Any = None
        self._due = 0.0
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Offer the new connection for its first request."""
        self._transport = transport
        self._arrivals.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a whole answer, then send the next request."""
        self._heard = heard = self._heard + data if self._heard else data
        head = heard.find(b"\r\n\r\n")
        if head < 0:
            return
        at = heard.lower().find(b"content-length:", 0, head)
        if at < 0:
            raise RuntimeError("an answer without Content-Length")
        length = int(heard[at + 15 : heard.find(b"\r\n", at)])
        if len(heard) < head + 4 + length:
            return
        self._heard = b""
        self._arrivals.answered(self._due, heard[9:12])
        self._arrivals.send(self)


async def load(options: argparse.Namespace, template: bytes) -> dict[str, float]:
    """Run the load. Return what was measured."""
    arrivals = Arrivals(template, options.run, options.rate, options.seconds)
    loop = asyncio.get_running_loop()
    for _ in range(options.connections):
        await loop.create_connection(lambda: Connection(arrivals), "127.0.0.1", options.port)
    arrivals._started = time.perf_counter()
    ticker = Ticker(max(0.0001, 1 / options.rate), arrivals.tick)
    deadline = arrivals._started + options.seconds + _DRAIN_SECONDS
    while not arrivals.over and time.perf_counter() < deadline:  # noqa: ASYNC110 - no event per answer
        await asyncio.sleep(0.05)
    took = time.perf_counter() - arrivals._started
    ticker.close()
    latencies = sorted(arrivals.latencies) or [float("nan")]
    late = sorted(arrivals.late) or [float("nan")]
    return {
        "sent": len(arrivals.late),
        "answered": arrivals.finished,
        "bad": arrivals.bad,
        "unanswered": max(0, arrivals._total - arrivals.finished),
        "rate": arrivals.finished / took,
        "p50_ms": 1000 * _share(latencies, 0.5),
        "p99_ms": 1000 * _share(latencies, 0.99),
        "p999_ms": 1000 * _share(latencies, 0.999),
        "max_ms": 1000 * latencies[-1],
        "sent_late_p99_ms": 1000 * _share(late, 0.99),
    }


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Load at a constant arrival rate.")
    parser.add_argument("--template", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--run", default="open00")
    options = parser.parse_args()
    template = Path(options.template).read_bytes()
    with suppress(PermissionError):  # it must not wait for what it measures on the same cores
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    gc.disable()  # nothing here makes cycles, and a collection would look like the server's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(load(options, template))) + "\n")


if __name__ == "__main__":
    main()
