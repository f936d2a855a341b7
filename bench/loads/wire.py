"""Put a long wire in front of servers on this machine: connecting costs a round trip, too.

Chromium's own emulation delays answers alone, so that a new connection costs nothing there; on a
real wire it costs a round trip more, and one more still with TLS, which is not imitated here.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, cast


class Wire:
    """Ports that lead to servers, each byte half a round trip later. Use it in a `with`."""

    def __init__(self, round_trip_seconds: float) -> None:
        self._round_trip_seconds = round_trip_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._ends: set[_End] = set()

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for each in self._sockets:
            each.close()
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for each in list(self._ends):
            each.abort()
        await asyncio.sleep(0)  # in which the transports close their sockets
        await asyncio.sleep(0)

    def port(self) -> int:
        """Return a new port, which leads nowhere yet."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(listening)
        return int(listening.getsockname()[1])

    def lay(self, port: int, target: int) -> None:
        """Let a port lead to the server that listens on another."""
        listening = next(each for each in self._sockets if each.getsockname()[1] == port)

        async def serve() -> None:
            server = await self._loop.create_server(
                lambda: _NearEnd(self._ends, target, self._round_trip_seconds), sock=listening
            )
            self._servers.append(server)

        asyncio.run_coroutine_threadsafe(serve(), self._loop).result()


class _End(asyncio.Protocol):
    """One end of a connection: what it receives leaves the other end half a round trip later."""

    def __init__(self, ends: set[_End], delay_seconds: float) -> None:
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._delay_seconds = delay_seconds
        self._not_before = 0.0
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ends.add(self)

    def abort(self) -> None:
        """Close the connection now, with what is under way."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._later(lambda transport: transport.write(data))

    def connection_lost(self, _error: Exception | None) -> None:
        self._ends.discard(self)
        self._later(lambda transport: transport.close())

    def _later(self, act: Any) -> None:
        due = max(self._loop.time(), self._not_before) + self._delay_seconds
        self._loop.call_at(due, self._act, act)

    def _act(self, act: Any) -> None:
        transport = self.other and self.other.transport
        if transport and not transport.is_closing():
            act(transport)


class _NearEnd(_End):
    """The end towards the browser."""

    def __init__(self, ends: set[_End], target: int, round_trip_seconds: float) -> None:
        super().__init__(ends, round_trip_seconds / 2)
        self._target = target
        self._round_trip_seconds = round_trip_seconds
        self._dialing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # asyncio leaves it out where the listening socket names no protocol. A wire delays all
        # alike: it holds back no body until its head is acknowledged.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel has accepted at once; over a wire, the client would know a round trip later.
        self._not_before = self._loop.time() + self._round_trip_seconds
        self._dialing = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        def far_end() -> _End:
            end = _End(self._ends, self._delay_seconds)
            end.other = self
            return end

        # Connected long before the first byte is due.
        _, self.other = await self._loop.create_connection(far_end, "127.0.0.1", self._target)
