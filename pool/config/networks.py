"""Parse addresses and networks of settings and keys, and find the visitor behind a proxy.

A proxy says in X-Forwarded-For whom it forwards for, and in X-Forwarded-Proto whether the
request came over TLS. Both count only if the connection comes from a trusted proxy, since
anybody may send such headers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]

ANYBODY = "*"
_FORWARDED_FOR, _FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"
_HOPS = 32  # that are looked at; a visitor may write thousands into the header
_MAPPED_BITS = 96  # before an IPv4 address that is written as one of IPv6
_ADDRESS_CHARACTERS = 64  # the longest address has 45 characters, and a zone


def networks_of(text: str) -> Networks:
    """Return the networks that a text names, separated by commas or spaces.

    Raise ValueError naming the first word that is neither.
    """
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(_as_ipv4(ip_network(word)))
        except ValueError:
            raise ValueError(
                f"{word[:_ADDRESS_CHARACTERS]!r} is neither an address "
                "nor a network such as 10.0.0.0/8"
            ) from None
    return tuple(found)


def _as_ipv4(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4 that is written within IPv6 (::ffff:10.0.0.0/104) as one of IPv4.

    Addresses of visitors are compared in that form.
    """
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def holds(networks: Networks, address: str) -> bool:
    """Return True if the address lies in one of the networks."""
    try:
        parsed = ip_address(_bare(address))
    except ValueError:
        return False
    return any(parsed in network for network in networks if network.version == parsed.version)


class TrustedProxies:
    """The proxies that the setting TRUSTED_PROXIES names, and the visitors behind them."""

    def __init__(self, setting: str) -> None:
        self.anybody = ANYBODY in setting.replace(",", " ").split()
        self._networks = () if self.anybody else networks_of(setting)
        self._known = lru_cache(maxsize=4096)(partial(holds, self._networks))

    def trusts(self, peer: str) -> bool:
        """Return True if this peer's X-Forwarded headers are believed."""
        return self.anybody or (len(peer) <= _ADDRESS_CHARACTERS and self._known(peer))

    def address(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> str:
        """Return the visitor's address: the last one that is not a trusted proxy's own."""
        if not self.trusts(peer):
            return _bare(peer)
        said = b",".join(value for name, value in headers if name == _FORWARDED_FOR)
        words = said.decode("latin-1")
        if self.anybody:
            parts = words.split(",", _HOPS)[:_HOPS]
        else:
            parts = words.rsplit(",", _HOPS)[-_HOPS:]
        hops = [hop.strip() for hop in parts if hop.strip()]
        if not hops:
            return _bare(peer)
        if self.anybody:
            return _bare(hops[0])
        # Each proxy appends to the list, so only that hop vouches for the part before an untrusted
        # hop.
        visitors = (hop for each in reversed(hops) if not self.trusts(hop := _bare(each)))
        return next(visitors, _bare(hops[0]))

    def secure(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> bool:
        """Return True if a trusted proxy says that the visitor came over HTTPS."""
        if not self.trusts(peer):
            return False
        # Where one proxy is behind another, the outer one terminates TLS.
        said = b",".join(value for name, value in headers if name == _FORWARDED_PROTO)
        return b"https" in [hop.strip().lower() for hop in said.rsplit(b",", _HOPS)[-_HOPS:]]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> str:
    host = text
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]  # some proxies add the port
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return text
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return str(mapped or parsed)


def _bare(text: str) -> str:
    """Return an address in its one form: without port and brackets, IPv4 as IPv4."""
    return _parsed(text[:_ADDRESS_CHARACTERS])
