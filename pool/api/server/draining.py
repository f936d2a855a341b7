"""How connections end when the server is told to stop: after an answer, not before one.

The server closes kept-alive connections that are idle at that moment. A request that is on
its way in one of them would meet a closed door. Here they stay open for a moment longer;
whoever uses one is answered and told that it closes.
"""

from __future__ import annotations

from pool.api.server.slow_clients import GuardedProtocol

LINGER_SECONDS = 1.0
_CLOSE = (b"connection", b"close")


class DrainingProtocol(GuardedProtocol):
    """The server's protocol, which ends its connection in order."""

    def shutdown(self) -> None:
        """Called once for each connection when the server stops."""
        state = self.server_state
        if _CLOSE not in state.default_headers:
            # From here on, every answer of this process is its connection's last.
            state.default_headers = [*state.default_headers, _CLOSE]
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()
