"""Drain a pool through a public key, as a script outside any browser does.

    python -m bench.loads.drain --port N --seconds S --public-key KEY --origin O

Sends a claim of a new visitor at a constant rate, each from the next of many addresses, which a
trusted proxy on this machine is believed to have seen. Writes one line of JSON: how often the
claims were answered, and with what.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter

import uvloop

CONNECTIONS = 32
_ANSWER_SECONDS = 10.0


def _request(number: int, addresses: int, origin: str, body: bytes) -> bytes:
    address = number % addresses
    lines = [
        "POST /v1/embed/claims HTTP/1.1",
        "Host: drain",
        f"Origin: {origin}",
        f"X-Forwarded-For: 198.18.{address // 250}.{1 + address % 250}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> str:
    async with asyncio.timeout(_ANSWER_SECONDS):
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length:")
        await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
    return head[9:12].decode()


async def drain(
    port: int, seconds: float, rate: float, addresses: int, origin: str, public_key: str
) -> Counter[str]:
    """Claim at this rate for so long. Return how often each status was answered."""
    body = json.dumps({"public_key": public_key}).encode()
    told: Counter[str] = Counter()
    started = time.perf_counter()
    numbers = iter(range(int(rate * seconds)))

    async def visit() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for number in numbers:
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                told[await _ask(reader, writer, _request(number, addresses, origin, body))] += 1
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(visit())
    return told


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="A script that drains a public key.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--addresses", type=int, default=1_000)
    parser.add_argument("--origin", required=True)
    parser.add_argument("--public-key", required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(
            drain(
                options.port,
                options.seconds,
                options.rate,
                options.addresses,
                options.origin,
                options.public_key,
            )
        )
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
