"""Recognise anonymous visitors by an id that linkpool signs and their browser keeps.

A visitor's id is `<22 random characters>.<22 of its signature>`, both url-safe, bound to one public
key. What the ledger calls the customer is another keyed hash of it, so that nobody who reads the
ledger can act as the visitor, and no answer holds a customer id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

_RANDOM_BYTES = 16
_CHARACTERS = 22  # of 16 bytes in base64url


@dataclass(frozen=True, slots=True)
class Visitor:
    """An anonymous visitor: their id as their browser keeps it, and their customer id."""

    text: str
    customer_id: str


class Visitors:
    """Signs and verifies the ids of visitors."""

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool visitors\0" + secret_key).digest()

    def new(self, public_key: str) -> Visitor:
        """Return a new visitor."""
        return self._visitor(public_key, _text(secrets.token_bytes(_RANDOM_BYTES)))

    def known(self, public_key: str, text: str) -> Visitor | None:
        """Return the visitor of this id, or None unless it was signed for this public key."""
        if len(text) != 2 * _CHARACTERS + 1 or not text.isascii():
            return None
        visitor = self._visitor(public_key, text[:_CHARACTERS])
        return visitor if hmac.compare_digest(visitor.text, text) else None

    def _visitor(self, public_key: str, random: str) -> Visitor:
        made = hmac.digest(self._key, f"{public_key}\0{random}".encode(), "sha256")
        return Visitor(f"{random}.{_text(made[:16])}", f"visitor:{_text(made[16:])}")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
