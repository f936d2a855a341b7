"""End connections after an answer, not before one, when the server stops.

The server closes kept-alive connections that are idle at that moment, so a request already on
its way in one of them would be lost. Here they stay open for LINGER_SECONDS longer: a request
is answered, with the header that says that the connection closes.
"""

from __future__ import annotations

from pool.api.server.slow_clients import GuardedProtocol

LINGER_SECONDS = 1.0
_CLOSE = (b"connection", b"close")


class DrainingProtocol(GuardedProtocol):
    """The server's protocol, which ends its connection without losing a request."""

    def shutdown(self) -> None:
        """End this connection; called once for each when the server stops."""
        state = self.server_state
        if _CLOSE not in state.default_headers:
            # From here on, every answer of this process is the last on its connection.
            state.default_headers = [*state.default_headers, _CLOSE]
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()
