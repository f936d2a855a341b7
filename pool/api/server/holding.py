"""Parse what arrives in slices, and stop while too many requests wait for answers.

One read may hold thousands of small requests. Parsing them at once would keep every claim waiting
meanwhile, and each takes kilobytes until it is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    Base = object

SLICE_BYTES = 4 * 1024  # a claim of ordinary size is never sliced
WAITING_REQUESTS = 64  # on one connection, behind the one that is served
HELD_BYTES = 1024 * 1024


class Holding(Base):
    """A connection that keeps what it has read until there is room for more requests."""

    slice_bytes: int = SLICE_BYTES  # reads of more bytes are held; -1 while any is held
    _held: bytes = b""
    _feeding: bool = False

    def hold(self, data: bytes) -> None:
        """Keep what was read, and parse of it what may be parsed now."""
        self._held += data
        if len(self._held) > HELD_BYTES:
            self.held_too_much()
        self.feed()

    def held_too_much(self) -> None:
        """End the connection, since its client sends on without reading answers."""
        self.transport.abort()

    def feed(self) -> None:
        """Parse slices of what is held until enough requests wait; then read no more."""
        if self._feeding:
            return  # called again, by an answer given while a slice was parsed
        self._feeding = True
        held, at = self._held, 0
        self.slice_bytes = SLICE_BYTES
        try:
            while at < len(held) and len(self.pipeline) < WAITING_REQUESTS and self.still_read():
                self.data_received(held[at : at + SLICE_BYTES])
                at += SLICE_BYTES
        finally:
            self._feeding = False
            self._held = held[at:] if self.still_read() else b""
        if self._held:
            self.slice_bytes = -1
            self.flow.pause_reading()

    def still_read(self) -> bool:
        """Return True if what the client sends may still be a request."""
        return not self.transport.is_closing()

    def on_response_complete(self) -> None:
        """Go on after an answer: with the next request that waits, and with what is held."""
        super().on_response_complete()
        if self._held:
            self.feed()
