"""Attack like strangers without a key, in the worst ways we know.

    python -m bench.loads.hostile --port N --seconds S --connections C --meeting SID [--everywhere]

Each connection repeats one trick as fast as it is answered, and reconnects when it is thrown out.
With --everywhere each connection has an address of its own, and comes again from another before it
would have to wait for its turn (Linux has all of 127.0.0.0/8). Writes one line of JSON: how often
each trick was answered, and with what.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable

import uvloop

_BODY_BYTES = 256 * 1024
_ANSWER_SECONDS = 10.0
_ANSWERS_PER_ADDRESS = 38  # an address gets a few more than this without waiting
_LETTERS = "éa".encode() * (_BODY_BYTES // 3)
_QUOTES = '"é<'.encode() * (_BODY_BYTES // 4)
_JSON = b'{"reason": "' + b"x" * 16_000 + b'"}'
_DOCUMENTS = ("/docs", "/openapi.json", "/problems")
_SYSTEM = ("/metrics", "/readyz", "/livez")
_DEEP = b"[" * 8_000 + b"]" * 8_000


def _request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hostile", *headers]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _webhook(workspace: str, body: bytes) -> bytes:
    signature = f"x-neeto-webhook-signature: sha256={secrets.token_hex(32)}"
    return _request("POST", f"/v1/webhooks/{workspace}", signature, body=body)


def _key() -> str:
    return f"X-API-Key: lp_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def _guess() -> bytes:
    return b"key=" + secrets.token_hex(32).encode()


def tricks(sid: str) -> dict[str, Callable[[], bytes]]:
    """Return what a stranger may send, by name."""
    claims = f"/v1/meetings/{sid}/claims"
    return {
        "webhook of letters": lambda: _webhook("default", _LETTERS),
        "webhook of quotes": lambda: _webhook("default", _QUOTES),
        "webhook to nobody": lambda: _webhook(secrets.token_hex(4), _LETTERS),
        "claim with an unknown key": lambda: _request("POST", claims, _key(), body=_JSON),
        "claim without a key": lambda: _request("POST", claims, body=b'{"customer_id": "x"}'),
        "JSON without a key": lambda: _request("POST", f"/v1/meetings/{sid}/pause", body=_JSON),
        "deep JSON with an unknown key": lambda: _request(
            "POST", f"/v1/meetings/{sid}/drain", _key(), body=_DEEP
        ),
        "sign-in": lambda: _request("POST", "/ops/sign-in", body=_guess()),
        "large head": lambda: _request("GET", "/ops", "Cookie: " + "a" * 30_000),
        "documents": lambda: _request("GET", secrets.choice(_DOCUMENTS)),
        "system": lambda: _request("GET", secrets.choice(_SYSTEM)),
        "nowhere": lambda: _request("GET", f"/{secrets.token_hex(8)}"),
    }


def _somewhere() -> tuple[str, int]:
    """Return an address of this machine that has hardly been used before."""
    return f"127.{secrets.randbelow(255)}.{secrets.randbelow(256)}.{2 + secrets.randbelow(250)}", 0


async def _attack(
    port: int, trick: Callable[[], bytes], until: float, told: Counter[str], everywhere: bool
) -> None:
    while time.perf_counter() < until:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=_somewhere() if everywhere else None
            )
        except OSError:
            told["not let in"] += 1
            await asyncio.sleep(0.01)
            continue
        try:
            answers = 0
            while time.perf_counter() < until and not (
                everywhere and answers >= _ANSWERS_PER_ADDRESS
            ):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    writer.write(trick())
                    await writer.drain()
                    head = await reader.readuntil(b"\r\n\r\n")
                    at = head.lower().index(b"content-length:")
                    await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
                told[head[9:12].decode()] += 1
                answers += 1
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            told["thrown out"] += 1
        finally:
            writer.close()


async def attack(
    port: int, seconds: float, connections: int, sid: str, everywhere: bool
) -> dict[str, dict[str, int]]:
    """Play all tricks; return how each was answered."""
    told: dict[str, Counter[str]] = {name: Counter() for name in tricks(sid)}
    chosen = list(tricks(sid).items())
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            name, trick = chosen[number % len(chosen)]
            group.create_task(_attack(port, trick, until, told[name], everywhere))
    return {name: dict(counts) for name, counts in told.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Strangers without a key.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--meeting", required=True)
    parser.add_argument("--everywhere", action="store_true")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(
            attack(
                options.port,
                options.seconds,
                options.connections,
                options.meeting,
                options.everywhere,
            )
        )
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
