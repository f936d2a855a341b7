"""Test how much work one read can ask for: what a stranger sends is parsed within bounds."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace

import pytest

from pool.api.http.framing import ADDRESS_BYTES, CHUNKS, HEADERS
from pool.api.server.holding import HELD_BYTES, SLICE_BYTES, WAITING_REQUESTS
from pool.api.server.slow_clients import GuardedProtocol
from pool.config.networks import TrustedProxies
from tests.security.client import answers_in
from tests.security.in_process import Server, Transport
from tests.security.table import CLAIMS, KEY, NOWHERE, claim, request

SMALLEST = b"GET /x HTTP/1.1\r\nHost:x\r\n\r\n"
ONE_SLICE = SLICE_BYTES // len(SMALLEST) + 1


async def settled(server: Server, connection: Transport) -> list[str]:
    """Let the server answer all there is. Return the answers, and leave no task behind."""
    said = -1
    while said != len(connection.said):
        said = len(connection.said)
        await server.settle()
        if isinstance(connection.protocol, GuardedProtocol):
            assert len(connection.protocol.pipeline) <= WAITING_REQUESTS + ONE_SLICE
    found = answers_in(bytes(connection.said))
    connection.abort()
    await server.settle()
    return found


@pytest.mark.parametrize("count", [1_000, 5_000])
async def test_many_requests_in_one_read_are_parsed_as_they_are_answered(count: int) -> None:
    """All are answered, in their order; few are in memory at a time."""
    server = Server()
    connection = server.connect()
    sent = b"".join(
        b"GET /x HTTP/1.1\r\nHost:x\r\nX-Request-Id: %d\r\n\r\n" % number for number in range(count)
    )
    for start in range(0, len(sent), 65_536):
        connection.arrive(sent[start : start + 65_536])
        assert len(connection.protocol.pipeline) <= WAITING_REQUESTS + ONE_SLICE
    assert await settled(server, connection) == [f"404 {number}" for number in range(count)]


async def test_claims_between_many_requests_are_served() -> None:
    """Each gets its own answer, on the short cut and beside it."""
    server = Server()
    connection = server.connect()
    sent = b"".join(
        claim(identity=b"c%d" % number)
        + request(identity=b"r%d" % number)
        + claim(identity=b"d%d" % number, body=b"{}")
        for number in range(300)
    )
    connection.arrive(sent)
    kinds = (("200", "c"), ("200", "r"), ("422", "d"))
    wanted = [f"{status} {kind}{n}" for n in range(300) for status, kind in kinds]
    assert await settled(server, connection) == wanted


async def test_a_client_that_sends_on_without_end_is_refused() -> None:
    """Its requests wait; what it sends meanwhile is bounded."""
    server = Server()
    connection = server.connect()
    protocol = connection.protocol
    connection.arrive(request(b"POST", NOWHERE, b"Content-Length: 9") + b"{}")
    await server.settle()
    connection.arrive(b"1234567" + SMALLEST * ONE_SLICE * 2)
    connection.resume_reading()  # as the server does for a request whose body is asked for
    for _ in range(2 + HELD_BYTES // len(SMALLEST * 2_000)):
        if not protocol._refused:
            protocol.data_received(SMALLEST * 2_000)
        assert len(protocol._held) <= HELD_BYTES + 65_536
    assert protocol._refused
    found = await settled(server, connection)
    assert found[-1] == "413"


@pytest.mark.parametrize("path", [CLAIMS, CLAIMS + b"?embed=inline"])
async def test_who_waits_and_goes_leaves_nothing_behind(path: bytes) -> None:
    """A refusal that waits for its turn is dropped with its connection, on either way."""
    server = Server()
    server.application.lane._doors = SimpleNamespace(  # type: ignore[assignment]
        turn=lambda address: 60.0,
        failed=lambda door, address: None,
        proxies=TrustedProxies("192.0.2.1"),
    )
    connection = server.connect()
    gone = weakref.ref(connection.protocol)
    connection.arrive(request(b"POST", path, body=b"{}"))
    await server.settle()
    assert not connection.said
    connection.abort()
    del connection
    async with asyncio.timeout(30):
        while gc.collect() >= 0 and gone() is not None:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.05)


REFUSED = {
    "headers": (b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * (HEADERS + 1), "431"),
    "address": (b"GET /" + b"x" * ADDRESS_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", "431"),
    "chunks": (
        request(b"POST", NOWHERE, b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * (CHUNKS + 1),
        "413",
    ),
    "chunks of a claim": (
        request(b"POST", CLAIMS, b"X-API-Key: " + KEY, b"Transfer-Encoding: chunked")
        + b"1\r\nx\r\n" * (CHUNKS + 1),
        "413",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_too_many_is_refused_before_it_ends(name: str) -> None:
    """It is parsed up to the limit, in one read or byte by byte."""
    server = Server()
    sent, status = REFUSED[name]
    for pieces in ([sent], [sent[n : n + 7] for n in range(0, len(sent), 7)]):
        connection = server.connect()
        for piece in pieces:
            connection.arrive(piece)
        assert [each[:3] for each in await settled(server, connection)] == [status]


async def test_what_is_just_not_too_many_is_served() -> None:
    """At each limit."""
    server = Server()
    body = b"1\r\n \r\n" * (CHUNKS - 1) + b"0\r\n\r\n"  # the empty one at the end is one, too
    for sent, status in (
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * (HEADERS - 1) + b"\r\n", "200"),
        (b"GET /" + b"x" * (ADDRESS_BYTES - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (request(b"POST", NOWHERE, b"Transfer-Encoding: chunked") + body, "404"),
    ):
        connection = server.connect()
        connection.arrive(sent)
        assert [each[:3] for each in await settled(server, connection)] == [status]
