"""Read requests and form answers for the claim lane and the routes, in plain ASGI."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from pool.errors import TooLarge

CLAIM_BODY_BYTES = 16 * 1024
WEBHOOK_BODY_BYTES = 256 * 1024
EMBED_BODY_BYTES = 8 * 1024  # claims of browsers
BATCH_BODY_BYTES = 4 * 1024 * 1024  # 1,000 claims of 4 KiB
BATCH_SUFFIX = "/claims:batch"
BODY_SECONDS = 10.0
LOOK_SECONDS = 0.5  # between two looks whether a client that waits for its turn is still there
CONNECTION = "linkpool.connection"  # the key of the connection in a scope

Headers = Iterable[tuple[bytes, bytes]]
Answer = tuple[int, Sequence[tuple[bytes, bytes]], bytes]

# Browsers must trust the Content-Type, and not guess a type from the body.
NOSNIFF = (b"x-content-type-options", b"nosniff")

_sane_id = re.compile(rb"^[A-Za-z0-9._:-]{1,128}\Z")
_serial = itertools.count(1)
_process = secrets.token_hex(4)


class Disconnected(Exception):
    """Raised when the client went away before its request was whole."""


def request_id(headers: Headers) -> bytes:
    """Return the caller's X-Request-Id if it is well formed, else a new id."""
    for name, value in headers:
        if name == b"x-request-id" and _sane_id.match(value):
            return value
    return f"{_process}-{next(_serial):x}".encode()


def api_key(headers: Headers) -> bytes | None:
    """Return the key a request carries, or None if it carries none or several that differ."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"x-api-key":
            key = value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            key = value[7:].strip()
        else:
            continue
        if found is not None and found != key:
            return None
        found = key
    return found


def body_limit_bytes(path: str) -> int:
    """Return how large the body of a request to this path may be."""
    if path.startswith("/v1/webhooks/"):
        return WEBHOOK_BODY_BYTES
    if path.startswith("/v1/meetings/") and path.endswith(BATCH_SUFFIX):
        return BATCH_BODY_BYTES
    return EMBED_BODY_BYTES if path.startswith("/v1/embed/") else CLAIM_BODY_BYTES


def response_of(answer: Answer) -> Response:
    """Return an answer as the framework's response, with its length and no header besides."""
    status, headers, body = answer
    response = Response(body, status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response


def json_response(body: bytes | str, status: int = 200) -> Response:
    """Return JSON that nobody may keep: it names a customer's link."""
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


def address_of(request: Request) -> str:
    """Return the address of the client, empty if it is not known."""
    return request.client.host if request.client else ""


async def wait_for_turn(scope: Scope, seconds: float) -> None:
    """Wait this long, or until the client has gone, so that none stays in memory for nothing."""
    connection = scope.get(CONNECTION)
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        await asyncio.sleep(min(left, LOOK_SECONDS))
        if connection is not None and connection.is_closing():
            return


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """Return the whole body.

    Raise TooLarge as soon as the limit is passed, TimeoutError after BODY_SECONDS, and
    Disconnected if the client goes away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit_bytes:  # digits: parsed before
            raise TooLarge(f"the body is larger than {limit_bytes // 1024} KiB")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit_bytes:
            raise TooLarge(f"the body is larger than {limit_bytes // 1024} KiB")
        return body
    async with asyncio.timeout(BODY_SECONDS):
        return await _read_on(message, receive, limit_bytes)


async def _read_on(message: Message, receive: Receive, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit_bytes:
            raise TooLarge(f"the body is larger than {limit_bytes // 1024} KiB")
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
