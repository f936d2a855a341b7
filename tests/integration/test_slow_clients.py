"""Test slow and greedy clients against the server's own protocol, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import pytest
import uvicorn

from pool.api.http.messages import read_body
from pool.api.server import slow_clients
from tests.served import served

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter

KEEP_ALIVE_SECONDS = 5


async def echo(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    """Answer with the body of the request, or on /large with more than any buffer holds."""
    body = await read_body(scope, receive, 1 << 20)
    if scope["path"] == "/large":
        body = b"x" * (32 << 20)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Run a server with short deadlines."""
    for name, seconds in (
        ("SWEEP_SECONDS", 0.05),
        ("HEAD_SECONDS", 0.4),
        ("BODY_SECONDS", 0.4),
        ("UNREAD_SECONDS", 0.4),
        ("IDLE_SECONDS", 0.5 - KEEP_ALIVE_SECONDS),
    ):
        monkeypatch.setattr(slow_clients, name, seconds)
    monkeypatch.setattr(slow_clients, "connections_most", lambda: 20)
    config = uvicorn.Config(
        echo,
        port=0,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        http=slow_clients.GuardedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    async with served(config) as port:
        yield port


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[Reader, Writer]]:
    """Return a connection to the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answered(reader: Reader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the next answer."""
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


async def refused(reader: Reader, status: int, name: str) -> None:
    """Check that the next answer is this problem, and the last one of the connection."""
    got, headers, body = await answered(reader)
    assert (got, json.loads(body)["type"]) == (status, f"/problems/{name}")
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"]
    async with asyncio.timeout(30):
        assert await reader.read() == b""


async def drip(writer: Writer, piece: Callable[[int], bytes]) -> None:
    """Send a piece every 50 ms, until the connection is gone."""
    for number in range(10_000):
        writer.write(piece(number))
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", None),
        (b"POST / HTTP/1.1\r\nHo", None),
        (b"POST / HTTP/1.1\r\n", lambda n: b"X-%d: y\r\n" % n),
        (b"POST /", lambda n: b"x"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n", lambda n: b"x"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            lambda n: b"1\r\nx\r\n",
        ),
        (REQUEST + b"GET /x HT", None),
    ],
    ids=["silent", "cut", "headers", "url", "no body", "body", "chunks", "second request"],
)
async def test_a_slow_client_gets_408_and_is_disconnected(
    port: int, start: bytes, piece: Callable[[int], bytes] | None
) -> None:
    """A head or a body has a fixed time in all, however steadily its bytes arrive."""
    async with connected(port) as (reader, writer):
        began = time.monotonic()
        writer.write(start)
        dripping = asyncio.create_task(drip(writer, piece)) if piece else None
        if start.startswith(REQUEST):
            assert (await answered(reader))[2] == b"{}"
        await refused(reader, 408, "request-timeout")
        assert 0.3 < time.monotonic() - began < 30
        if dripping:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def test_the_quick_are_served_meanwhile(port: int) -> None:
    """A connection in use outlives every deadline while others hang."""
    async with connected(port) as (reader, writer), connected(port) as (_, hanging):
        hanging.write(b"POST / HT")
        for _ in range(10):
            writer.write(REQUEST)
            assert (await answered(reader))[0] == 200
            await asyncio.sleep(0.08)


async def test_idle_connections_end_even_if_they_cheat(port: int) -> None:
    """Line ends between requests, which reset the server's own timer, do not keep a connection."""
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        await answered(reader)
        dripping = asyncio.create_task(drip(writer, lambda _: b"\r\n"))
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_answers_nobody_reads_are_dropped(port: int) -> None:
    """A client that reads no answer loses its connection, and the answer's memory is freed."""
    async with connected(port) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1.2)
        writer.transport.resume_reading()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(30):
                await reader.readexactly(32 << 20)


def head(*headers: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(each + b"\r\n" for each in headers) + b"\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(*[b"x: y"] * 100),
        head(b"x: " + b"y" * 60_000),
        head(*[b"x: " + b"y" * 1000] * 40),
        b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["many", "long", "much", "address"],
)
async def test_large_heads_are_refused(port: int, request_bytes: bytes) -> None:
    """Over 100 headers or 32 KiB of head are answered 431, in one piece or in several."""
    async with connected(port) as (reader, writer):
        writer.write(request_bytes)
        await refused(reader, 431, "headers-too-large")
    async with connected(port) as (reader, writer):
        # What is too much is refused before it ends; what is too many, once it does.
        sent = request_bytes[:-4] if len(request_bytes) > 32 * 1024 else request_bytes
        for start in range(0, len(sent), 8_000):
            writer.write(sent[start : start + 8_000])
            await writer.drain()
            await asyncio.sleep(0.01)
        await refused(reader, 431, "headers-too-large")


async def test_heads_up_to_the_limit_are_taken(port: int) -> None:
    """A hundred headers of some 30 KiB are served, also in pieces of 1,000 bytes."""
    good = head(*[b"x: " + b"y" * 290] * 99)
    async with connected(port) as (reader, writer):
        writer.write(good)
        assert (await answered(reader))[0] == 200
        for start in range(0, len(good), 1_000):
            writer.write(good[start : start + 1_000])
            await writer.drain()
        assert (await answered(reader))[0] == 200
        writer.write(REQUEST * 1_000 + REQUEST[:20])  # many requests are no large head
        for _ in range(1_000):
            assert (await answered(reader))[0] == 200
        writer.write(REQUEST[20:])
        assert (await answered(reader))[0] == 200


@pytest.mark.parametrize("framing", ["trailers", "extension", "after the answer"])
async def test_requests_without_end_are_cut_off(port: int, framing: str) -> None:
    """A stream that is no body, and so has no body's limit, is still limited."""
    start = CHUNKED
    piece = b"x" * 50_000
    if framing == "trailers":
        start += b"0\r\n"
        piece = b"x: " + b"y" * 50_000 + b"\r\n"
    elif framing == "extension":
        start += b"1;"
    else:  # over the application's own limit, which answers while more comes
        piece = b"10000\r\n" + b"z" * 65_536 + b"\r\n"
    async with connected(port) as (_, writer):
        writer.write(start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
    assert sent < 20_000_000  # the sockets' buffers included


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
    ],
    ids=["tls", "version", "bytes", "name", "two lengths", "both", "chunk", "negative"],
)
async def test_what_is_no_http_is_refused_as_a_problem(port: int, request_bytes: bytes) -> None:
    """Broken and ambiguous framing is answered 400 in the form of every other error."""
    async with connected(port) as (reader, writer):
        writer.write(request_bytes)
        await refused(reader, 400, "malformed-request")


@pytest.mark.parametrize("count", [1, 3])
async def test_garbage_after_requests_is_refused_behind_their_answers(
    port: int, count: int
) -> None:
    """Clients that wait for answers get those first, and then the refusal."""
    async with connected(port) as (reader, writer):
        writer.write(REQUEST * count + b"nonsense\r\n\r\n" + REQUEST)
        for _ in range(count):
            assert (await answered(reader))[::2] == (200, b"{}")
        await refused(reader, 400, "malformed-request")


async def test_a_connection_beyond_the_limit_gets_503_until_others_close(port: int) -> None:
    """Beyond the limit a request is answered 503 with Retry-After, until others have closed."""
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        status, headers, body = await answered(reader)
        assert (status, json.loads(body)["type"]) == (503, "/problems/too-many-connections")
        assert int(headers["retry-after"]) >= 1
        assert headers["connection"] == "close"
    for _, writer in held:
        writer.close()
    status = 503
    async with asyncio.timeout(30):
        while status == 503:  # until the server has seen them go
            async with connected(port) as (reader, writer):
                writer.write(REQUEST)
                status, _, _ = await answered(reader)
    assert status == 200


async def test_a_crowd_of_one_address_makes_room_for_those_with_a_key(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 connections in all, strangers of one address keep two once there are more than ten."""
    lane = SimpleNamespace(
        knows_key=lambda headers: (b"x-api-key", b"good") in headers,
        trusts=lambda address: False,
        heads=SimpleNamespace(find=lambda data: None),
        knows=lambda sid: False,
    )
    monkeypatch.setattr(slow_clients.GuardedProtocol, "lane_of", lambda self: lane)
    monkeypatch.setattr(slow_clients, "HEAD_SECONDS", 60.0)
    monkeypatch.setattr(slow_clients, "IDLE_SECONDS", 60.0)
    keyed = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
    for reader, writer in keyed:
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nX-API-Key: good\r\n\r\n"))
        assert (await answered(reader))[0] == 200
    strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
    async with asyncio.timeout(5):
        ends = [asyncio.create_task(reader.read()) for reader, _ in strangers]
        while sum(each.done() for each in ends) < 8:
            await asyncio.wait(ends, return_when="FIRST_COMPLETED", timeout=0.05)
    for each in ends:
        each.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    for reader, writer in keyed:
        writer.write(REQUEST)
        assert (await answered(reader))[0] == 200
    for _, writer in [*keyed, *strangers]:
        writer.close()
