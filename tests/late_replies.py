"""Put a way between a client and Redis on which replies can be held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.redis_process import RedisServer


class Way:
    """Connections to a Redis. Commands always pass; replies on those that are held wait."""

    def __init__(self) -> None:
        self.url = ""
        self._passing: list[asyncio.Event] = []  # of each connection

    def hold(self) -> None:
        """Hold up all further replies on the connections that there are."""
        for passing in self._passing:
            passing.clear()

    def release(self) -> None:
        """Let them through."""
        for passing in self._passing:
            passing.set()

    async def carry(
        self, server: RedisServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection until either side ends it."""
        replies, commands = await asyncio.open_connection("127.0.0.1", server.port)
        passing = asyncio.Event()
        passing.set()
        self._passing.append(passing)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, commands, None))
                both.create_task(_pump(replies, writer, passing))
        finally:
            for each in (commands, writer):
                each.transport.abort()
            await asyncio.sleep(0)  # in which they close


async def _pump(
    source: asyncio.StreamReader, to: asyncio.StreamWriter, gate: asyncio.Event | None
) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            if gate is not None:
                await gate.wait()
            to.write(data)
            await to.drain()
    to.close()


@asynccontextmanager
async def late_replies(server: RedisServer) -> AsyncIterator[Way]:
    """Serve a way to this Redis on a port of its own."""
    way = Way()
    carried: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(way.carry(server, reader, writer))
        carried.add(task)
        task.add_done_callback(carried.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    way.url = server.url().replace(f":{server.port}", f":{port}")
    try:
        yield way
    finally:
        listening.close()
        way.release()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
