"""Test which address is the visitor's, and when a visit counts as secure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.config import networks
from pool.config.networks import TrustedProxies, holds, networks_of

LOOPBACK = "127.0.0.1,::1"


def forwarded(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-forwarded-for", each) for each in values)]


@pytest.mark.parametrize(
    ("setting", "peer", "values", "address"),
    [
        (LOOPBACK, "127.0.0.1", [], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "::ffff:127.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [b"198.51.100.1", b"203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [b"203.0.113.7, 127.0.0.1"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [b"127.0.0.1"], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", [b"203.0.113.7:4711"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        (LOOPBACK, "127.0.0.1", [b"2001:DB8:0::1"], "2001:db8::1"),
        (LOOPBACK, "127.0.0.1", [b", ,"], "127.0.0.1"),
        (LOOPBACK, "10.0.0.9", [b"203.0.113.7"], "10.0.0.9"),
        ("10.0.0.0/8", "10.0.0.9", [b"203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("10.0.0.0/8", "127.0.0.1", [b"203.0.113.7"], "127.0.0.1"),
        ("10.0.0.9 2001:db8::/32", "2001:db8::5", [b"203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.9", "10.0.0.9", [b"203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.9", [b"203.0.113.7"], "203.0.113.7"),
        ("*", "192.0.2.1", [b"198.51.100.1, 203.0.113.7"], "198.51.100.1"),
        ("", "127.0.0.1", [b"203.0.113.7"], "127.0.0.1"),
        (LOOPBACK, "", [b"203.0.113.7"], ""),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_visitors(
    setting: str, peer: str, values: list[bytes], address: str
) -> None:
    """Nothing that stands before it counts, since the visitor may have written it."""
    assert TrustedProxies(setting).address(forwarded(*values), peer) == address


@pytest.mark.parametrize("word", [b"127.0.0.1", b"10.9.8.7", b"x"])
def test_a_visitor_may_write_any_number_of_addresses(
    word: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are looked at: the proxies' own, and the one that is not."""
    parsed: list[str] = []
    monkeypatch.setattr(networks, "_parsed", lambda text: parsed.append(text) or text)
    many = b",".join([word] * 5_000)
    for setting in (LOOPBACK, "*"):
        proxies = TrustedProxies(setting)
        assert proxies.address(forwarded(many, b"203.0.113.7, 127.0.0.1"), "127.0.0.1") == (
            "203.0.113.7" if setting == LOOPBACK else word.decode()
        )
        proxies.address(forwarded(many), "127.0.0.1")
        assert not proxies.secure([(b"x-forwarded-proto", many)], "127.0.0.1")
    assert len(parsed) < 300


def test_only_a_trusted_proxy_makes_a_visit_secure() -> None:
    """X-Forwarded-Proto counts, also where one proxy stands behind another."""
    proxies = TrustedProxies("10.0.0.0/8")
    for value, secure in (
        (b"https", True),
        (b"HTTPS , http", True),
        (b"http", False),
        (b"", False),
    ):
        headers = [(b"x-forwarded-proto", value)]
        assert proxies.secure(headers, "10.0.0.1") is secure
        assert proxies.secure(headers, "192.0.2.1") is False
    assert proxies.secure([], "10.0.0.1") is False


@given(st.binary(max_size=200), st.sampled_from(["127.0.0.1", "::1", "8.8.8.8", "", "x" * 300]))
def test_no_header_breaks_anything(value: bytes, peer: str) -> None:
    """A header of any bytes breaks nothing."""
    proxies = TrustedProxies(LOOPBACK)
    assert len(proxies.address(forwarded(value), peer)) <= 64
    proxies.secure([(b"x-forwarded-proto", value)], peer)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", "1.2.3"])
def test_what_is_no_network_is_named(text: str) -> None:
    """A mistake here would trust nobody, or a stranger."""
    with pytest.raises(ValueError, match="neither an address nor a network"):
        networks_of(f"127.0.0.1, {text}")


def test_an_address_lies_in_its_networks() -> None:
    """An address is found in its networks in any form it is written."""
    networks = networks_of("10.0.0.0/8, 2001:db8::/32")
    for inside in ("10.9.9.9", "::ffff:10.1.1.1", "2001:DB8::7", "10.1.1.1:80"):
        assert holds(networks, inside)
    for outside in ("11.0.0.1", "2001:db9::1", "", "nonsense", "10.0.0.0/8"):
        assert not holds(networks, outside)
