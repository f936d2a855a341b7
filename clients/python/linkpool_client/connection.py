"""Hold what the synchronous and the asynchronous client share."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpx

from linkpool_client.calls import Call
from linkpool_client.models import Customer

_ADDRESS = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?")
_KEY = re.compile(r"[!-~]+")


class Address:
    """The address of linkpool and the key that opens it. Its text never shows the key."""

    def __init__(self, url: str, key: str) -> None:
        if not _ADDRESS.fullmatch(url):
            raise ValueError(f"{url!r} is no address of a linkpool; use https://links.example.com")
        if not _KEY.fullmatch(key):
            raise ValueError("the key is empty or holds spaces, line ends or other letters")
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/html"}

    def __repr__(self) -> str:
        return f"<linkpool at {self.url}>"

    def request(self, call: Call[Any], timeout_seconds: float) -> dict[str, Any]:
        """Return the arguments of httpx's `request` for a call."""
        return {
            "method": call.method,
            "url": self.url + call.path,
            "params": call.query,
            "json": call.body,
            "headers": self._headers,
            "timeout": timeout_seconds,
            # linkpool does not redirect; whatever does shall not get the key.
            "follow_redirects": False,
        }


def customers(given: Iterable[Customer | str]) -> Iterable[Customer]:
    """Yield customers, of which some may be given by their id alone."""
    return (Customer(each) if isinstance(each, str) else each for each in given)


def not_a_string(given: object) -> None:
    """Raise TypeError if a batch is one text, whose letters would be claimed for one by one."""
    if isinstance(given, str):
        raise TypeError("claim_batch takes a list of customers; for one customer use claim")


@cache
def _tls() -> ssl.SSLContext:
    """Return how to speak TLS; kept, because reading all certificates takes a while."""
    return httpx.create_ssl_context()


def new_http() -> dict[str, Any]:
    """Return the arguments of an httpx client made here."""
    return {"limits": httpx.Limits(max_connections=100, keepalive_expiry=30), "verify": _tls()}
