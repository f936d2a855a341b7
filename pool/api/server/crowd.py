"""Keep one address from taking most connections without showing a good key.

A bound at all times would refuse sites whose servers connect without a proxy, before they can
show their key. So this acts only while more than half of the connections are taken: then an
address has at most a tenth of them, those with a good key not counted. Trusted proxies are not
bounded, since all visitors share their addresses; they bound their own clients.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Protocol

CROWDED_SHARE = 0.5
ADDRESS_SHARE = 0.1


class Connection(Protocol):
    """A connection, as a crowd sees it."""

    transport: Any

    def stranger(self) -> str | None:
        """Return the network of the client, or None if it may have any number of connections."""

    def waits_since(self) -> float:
        """Return since when it has waited for the same thing, by the loop's clock."""


class Crowd:
    """The connections of one server process, by address, while there are many."""

    def __init__(self, most: int) -> None:
        self._crowded_at = CROWDED_SHARE * most
        self._each = max(1, int(ADDRESS_SHARE * most))
        self._counts: Counter[str] | None = None  # None: there are few connections

    def look(self, connections: Collection[Any], ours: Iterable[Connection]) -> None:
        """Count all connections, and end those that an address has beyond its share.

        The ones that have waited longest are ended first.
        """
        if len(connections) <= self._crowded_at:
            self._counts = None
            return
        by_network: dict[str, list[Connection]] = defaultdict(list)
        for each in ours:
            network = each.stranger()
            if network is not None and not each.transport.is_closing():
                by_network[network].append(each)
        self._counts = Counter({network: len(found) for network, found in by_network.items()})
        for network, found in by_network.items():
            if (excess := len(found) - self._each) > 0:
                found.sort(key=lambda each: each.waits_since())
                for each in found[:excess]:
                    each.transport.abort()
                self._counts[network] = self._each

    def admits(self, arrived: Connection) -> bool:
        """Count a new connection. Return False if its address has its share already."""
        if self._counts is None or (network := arrived.stranger()) is None:
            return True
        self._counts[network] += 1
        return self._counts[network] <= self._each
