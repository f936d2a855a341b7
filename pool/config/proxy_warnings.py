"""Warn, at start and in `doctor`, where TRUSTED_PROXIES does not fit how linkpool is reached."""

from __future__ import annotations

from pool.config.networks import TrustedProxies
from pool.config.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def proxy_warnings(settings: Settings) -> list[str]:
    """Return a sentence for each thing that may be wrong."""
    proxies = TrustedProxies(settings.trusted_proxies)
    if proxies.anybody:
        return [
            "LINKPOOL_TRUSTED_PROXIES is *: any client of this port chooses the address that "
            "limits, allow-lists and logs see; name your proxies instead"
        ]
    only_this_machine = all(
        each in _LOOPBACK for each in settings.trusted_proxies.replace(",", " ").split()
    )
    if (
        settings.new_claims_per_minute_per_address
        and settings.host not in _LOOPBACK
        and only_this_machine
    ):
        return [
            "LINKPOOL_NEW_CLAIMS_PER_MINUTE_PER_ADDRESS is on, and LINKPOOL_TRUSTED_PROXIES "
            "names no proxy but those on this machine: behind any other, all visitors share "
            "its one address and its one limit"
        ]
    return []
