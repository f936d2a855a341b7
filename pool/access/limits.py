"""Limit new bindings and failed attempts, per API key or per caller's address.

The obvious attack on this design is to drain the pool. Customers who hold a link are
never limited. Only the claim script knows whether a claim needs a new link, so the limit is
checked before the script call and counted after it. The counts are kept in memory, per API
process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from functools import lru_cache
from ipaddress import ip_address, ip_network

_KEPT = 50_000  # callers, before those with a full allowance are dropped
_ROUNDING = 1e-6  # seconds; sums of sevenths of a minute are not exact


@lru_cache(maxsize=65_536)
def network_of(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 network of an IPv6 one.

    A host that has one IPv6 address usually has the whole /64. Text that is no address is
    returned as it is.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False))


class MinuteLimit:
    """A limit of `per_minute` events per caller, with bursts of up to a minute's worth.

    0 means no limit.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        # When each caller's allowance is full again; a full one need not be kept.
        self._whole_at: dict[Hashable, float] = {}
        self._tidy_at = _KEPT

    @property
    def on(self) -> bool:
        """Return True if there is a limit at all."""
        return self._interval > 0

    def reached(self, caller: Hashable) -> bool:
        """Return True if this caller has no allowance left now."""
        return bool(self._interval) and (
            self._whole_at.get(caller, 0.0) + self._interval > self._clock() + 60.0 + _ROUNDING
        )

    def seconds_until_free(self, caller: Hashable) -> float:
        """Return the seconds until this caller is allowed one more event."""
        free_at = self._whole_at.get(caller, 0.0) + self._interval - 60.0
        return max(0.0, free_at - self._clock())

    def give_back(self, caller: Hashable) -> None:
        """Take one counted event back."""
        whole_at = self._whole_at.get(caller)
        if whole_at is not None:
            self._whole_at[caller] = whole_at - self._interval

    def count(self, caller: Hashable) -> None:
        """Count one event of this caller."""
        if not self._interval:
            return
        now = self._clock()
        if len(self._whole_at) >= self._tidy_at:
            self._whole_at = {who: at for who, at in self._whole_at.items() if at > now}
            # Twice what is left: otherwise many addresses could make every claim scan them all.
            self._tidy_at = max(_KEPT, 2 * len(self._whole_at))
        self._whole_at[caller] = max(now, self._whole_at.get(caller, 0.0)) + self._interval
