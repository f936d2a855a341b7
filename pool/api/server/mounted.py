"""Serve requests below LINKPOOL_ROOT_PATH like those without the prefix.

A proxy in front may take the prefix off, or leave it; health checks come without it.
"""

from __future__ import annotations

from pool.api.http.mount import place_of
from pool.api.server.draining import DrainingProtocol


class MountedProtocol(DrainingProtocol):
    """The server's protocol, which takes the prefix off before anything looks at the path."""

    def check_head(self) -> None:
        """Check a head as ever, then take the prefix off its address."""
        super().check_head()
        self.url = place_of(self.url)


def protocol_of(root_path: str) -> type[DrainingProtocol]:
    """Return the protocol of a server below this prefix; without one it costs nothing."""
    return MountedProtocol if root_path else DrainingProtocol
