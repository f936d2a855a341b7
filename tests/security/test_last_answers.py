"""Test what follows the last answer on a connection: nothing is written, all input is dropped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import uvicorn

from pool.api.http import leaving
from pool.api.server.draining import DrainingProtocol
from tests.security.client import answers_in
from tests.security.in_process import Server
from tests.security.table import CLAIMS, KEY, NOWHERE, SMUGGLED, claim, request
from tests.served import served

EXPECT = b"Expect: 100-continue"
CHUNKED = b"Transfer-Encoding: chunked"
TWO = b"Content-Length: 2"
REFUSED_IN_ITS_BODY = {
    "a bad chunk": request(b"POST", NOWHERE, EXPECT, CHUNKED) + b"zz\r\n",
    "a bad chunk of a claim": request(b"POST", CLAIMS, b"X-API-Key: " + KEY, EXPECT, CHUNKED)
    + b"zz\r\n",
    "nonsense behind it": request(b"POST", NOWHERE, EXPECT, TWO) + b"{}nonsense\r\n\r\n",
    "nothing asked for": request(b"POST", NOWHERE, EXPECT, b"Content-Length: 300000"),
}


@pytest.mark.parametrize("name", REFUSED_IN_ITS_BODY)
async def test_nobody_is_asked_to_go_on_after_the_last_answer(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is refused before its route begins, which then asks for the body."""
    server = Server()
    sent = REFUSED_IN_ITS_BODY[name]
    for place in range(1, len(sent) + 1):
        connection = server.connect()
        with caplog.at_level(logging.ERROR):
            for piece in (sent[:place], sent[place:]):
                if piece:
                    connection.arrive(piece)
        await server.settle()
        answers = answers_in(bytes(connection.said))
        assert connection.ended
        assert answers[-1][:3] in ("400", "413")
        assert all(each[:3] in ("100", "404") for each in answers[:-1])
        connection.abort()
        await server.settle()
    assert not caplog.records


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Run a server with real sockets, which lets nobody linger for long."""
    monkeypatch.setattr(leaving, "LAST_ANSWER_SECONDS", 0.5)
    config = uvicorn.Config(
        Server().application, port=0, http=DrainingProtocol, ws="none",
        lifespan="off", log_config=None, access_log=False, interface="asgi3",
    )  # fmt: skip
    async with served(config) as port:
        yield port


async def send_for_ever(writer: asyncio.StreamWriter, data: bytes, pause_seconds: float) -> None:
    """Send the same again and again, until the connection is gone."""
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(pause_seconds)


LAST = {
    "a request that closes": request(b"GET", NOWHERE, b"Connection: close"),
    "an old request": request(b"GET", NOWHERE, version=b"HTTP/1.0"),
    "a claim that closes": claim(b"Connection: close"),
    "a refusal": b"nonsense\r\n\r\n",
    "an unread body": request(b"POST", NOWHERE, EXPECT, b"Content-Length: 300000"),
}


@pytest.mark.parametrize("name", LAST)
async def test_the_last_answer_reaches_a_client_that_sends_on(port: int, name: str) -> None:
    """The end of the answers comes as an end, not as a reset, and the server lets go soon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(LAST[name])
    async with asyncio.timeout(60):
        said = b""
        while b"\r\n\r\n" not in said:
            said += await reader.read(65_536)
            for _ in range(20):  # the client sends on before it reads on
                writer.write(SMUGGLED)
                await asyncio.sleep(0.001)
        said += await reader.read()
        assert len(answers_in(said)) == 1
        with pytest.raises(ConnectionError):
            await send_for_ever(writer, SMUGGLED, 0.01)
    writer.close()


async def test_a_client_that_floods_is_let_go_at_once(port: int) -> None:
    """A megabyte is dropped for it, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(LAST["a request that closes"])
    async with asyncio.timeout(60):
        assert await reader.readuntil(b"\r\n\r\n")
        started = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError):
            await send_for_ever(writer, bytes(65_536), 0)
        assert asyncio.get_running_loop().time() - started < 5
    writer.close()


async def test_an_answer_that_is_read_slowly_is_not_cut_off(port: int) -> None:
    """The time begins once the answer is with the system; here it never fits into it."""
    # The routes of this server have short answers, so the protocol is asked by itself.
    said = bytes(8 << 20)
    loop = asyncio.get_running_loop()

    class Writes(DrainingProtocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(said)
            self.leave()

    config = uvicorn.Config(Server().application, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    server = await loop.create_server(lambda: Writes(config, state, {}, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.sockets[0].getsockname()[1], limit=65_536
    )
    writer.write(b"x")
    got = 0
    async with asyncio.timeout(60):
        await asyncio.sleep(3 * leaving.LAST_ANSWER_SECONDS)
        while piece := await reader.read(1 << 20):
            got += len(piece)
    assert got == len(said)
    writer.close()
    server.close()
    await server.wait_closed()
