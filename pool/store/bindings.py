"""How a customer and their link are written in Redis: a keyed hash, and a compact value."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Literal

from pool.links import Claim, Source

_STATES: dict[str, Literal["claimed", "consumed"]] = {"c": "claimed", "x": "consumed"}
_SOURCES: dict[str, Source] = {"p": "pool", "d": "direct"}


class CustomerNames:
    """Names customers by a keyed hash of fixed size, so that Redis keys hold no personal data.

    Two processes agree on the names exactly when they share the secret key.
    """

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool customer names\0" + secret_key).digest()

    def name(self, sid: str, customer_id: str) -> str:
        """22 url-safe characters (128 bits) for this customer of this meeting."""
        digest = hashlib.blake2b(
            f"{sid}\0{customer_id}".encode(), key=self._key, digest_size=16
        ).digest()
        return urlsafe_b64encode(digest)[:22].decode()

    @property
    def fingerprint(self) -> str:
        """Tells secret keys apart without giving one away."""
        return hashlib.sha256(b"linkpool fingerprint\0" + self._key).hexdigest()[:16]


def pack(claim: Claim) -> str:
    """The value of a binding key; its form is documented in lua/fence.lua."""
    state = "x" if claim.state == "consumed" else "c"
    head = f"{state}{claim.source[0]}{claim.claimed_at_ms}:{claim.slug}"
    if claim.state == "consumed":
        return f"{head}:{claim.consumed_at_ms or 0}:{claim.booking_sid or ''}"
    return head


def unpack(value: str) -> Claim:
    """The claim that `pack` wrote, or a script did."""
    claimed_at, slug, *booked = value[2:].split(":", 3)
    return Claim(
        slug=slug,
        state=_STATES[value[0]],
        source=_SOURCES[value[1]],
        claimed_at_ms=int(claimed_at),
        consumed_at_ms=int(booked[0]) or None if booked else None,
        booking_sid=booked[1] or None if booked else None,
    )
