"""uvicorn's HTTP protocol, with each answer leaving in one write.

The server writes the head and the body of an answer apart, which is two system calls. Here
what is written in one turn of the event loop goes out together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pool.api.slow_clients import GuardedProtocol


class CorkedTransport:
    """A transport that gathers writes until the end of the loop's turn."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keeps data for the one write of this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def flush(self) -> None:
        """Writes what was gathered."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Closes once everything is written."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CorkedProtocol(GuardedProtocol):
    """The server's protocol over a corked transport."""

    def connection_made(self, transport: Any) -> None:
        """Called once per connection."""
        super().connection_made(CorkedTransport(transport, self.loop))
