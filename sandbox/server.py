"""Serve: the socket, the signals, and connections that can be cut without an answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.core import Sandbox

TICK_SECONDS = 1.0
# Connections still open this long after the signal are cut: a caller who reads slowly, or
# has sent half a request, must not hold up the end.
GRACE_SECONDS = 0.4
# If cutting does not help either, uvicorn cancels the rest.
LAST_RESORT_SECONDS = 1
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raise OSError, for example if the port is in use."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def serve(
    app: ASGIApp, sandbox: Sandbox, bound: socket.socket, *, ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once requests are accepted."""
    config = uvicorn.Config(
        app,
        http=_CuttableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=LAST_RESORT_SECONDS,
    )
    server = _Server(config, ready)

    def cut() -> None:
        for connection in list(server.server_state.connections):
            connection.transport.abort()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        loop = runner.get_loop()

        def stop() -> None:
            server.stop()
            sandbox.stop()
            loop.call_later(GRACE_SECONDS, cut)

        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop)
        runner.run(server.serve(sockets=[bound]))


class _Server(uvicorn.Server):
    """A server that leaves the signals to `serve`, which must also wake hanging requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Stop at once; call it on the event loop."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """Serve until `stop` is called. uvicorn itself would wake ten times a second.

        Each tick of number 0 renews the date that answers carry.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopped.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


class _CuttableProtocol(HttpToolsProtocol):
    """A protocol that puts its transport into the scope's state, for the knob p_lost."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
