"""End a connection after its last answer, without taking the answer back from the client.

If a socket is closed while its client still sends, the bytes that arrive are answered with a reset,
which may reach the client before it has read the answer. So the connection is closed for writing
only; what still arrives is read and dropped, until the client closes it, or its bound in time or
bytes is reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LAST_ANSWER_SECONDS = 2.0  # from the moment that all of the answer is with the system
UNREAD_SECONDS = 30.0  # in which the client must read something
DROPPED_BYTES = 1024 * 1024


class WayOut:
    """Stand in for the transport in a server's cycle: the same, except that closing ends politely.

    Its attributes are the transport's own methods, so that writing costs no further call.
    """

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write: Callable[[bytes], None] = transport.write
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.close = close

    def shut(self) -> None:
        """Let nothing be written from now on."""
        self.write = _drop
        self.is_closing = _yes

    def forget(self) -> None:
        """Hold nothing of a connection that is lost."""
        self.shut()
        self.close = _nothing


class Left:
    """Stand in for the transport of a connection that had its last answer: it is closing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.abort = transport.abort
        self.close = transport.close
        self.get_extra_info = transport.get_extra_info

    def is_closing(self) -> bool:
        """Return True: nothing is served here any more."""
        return True

    def write(self, data: bytes) -> None:
        """Drop what comes behind the last answer."""


class Leaving(asyncio.Protocol):
    """The protocol of a connection from its last request on: it drops what the client sends."""

    def __init__(self, protocol: HttpToolsProtocol, way_out: WayOut | None) -> None:
        self._protocol = protocol
        self._transport: Any = protocol.transport
        self._way_out = way_out
        self._left_bytes = DROPPED_BYTES
        self._end: asyncio.TimerHandle | None = None
        self._ends_at = 0.0
        self._transport.set_protocol(self)

    def leave(self, last: bytes = b"") -> None:
        """Write the last bytes, if there are any, and end the connection."""
        protocol, transport = self._protocol, self._transport
        if transport.is_closing() or self._end is not None:
            return
        if last:
            transport.write(last)
        transport.write_eof()
        if self._way_out is not None:
            self._way_out.shut()
        protocol.transport = Left(transport)  # type: ignore[assignment]
        protocol.pipeline.clear()  # requests that will not be answered
        protocol.flow.resume_reading()  # bytes that are left unread would cause the reset
        self._ends_at = protocol.loop.time() + UNREAD_SECONDS
        self._end = protocol.loop.call_later(LAST_ANSWER_SECONDS, self._let_go)

    def _let_go(self) -> None:
        loop, transport = self._protocol.loop, self._transport
        if transport.get_write_buffer_size() and loop.time() < self._ends_at:
            self._end = loop.call_later(LAST_ANSWER_SECONDS, self._let_go)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Drop what the client still sends; end the connection if it is too much."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Pass on that the client does not read its earlier answers."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer and pass on that the connection is closed."""
        if self._end is not None:
            self._end.cancel()
        self._protocol.connection_lost(exc)


def _drop(_data: bytes) -> None:
    """Write nothing."""


def _nothing() -> None:
    """Do nothing: the connection is closed already."""


def _yes() -> bool:
    return True
