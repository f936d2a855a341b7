"""Read browser tokens by RFC 7515, independently of the code that signs them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

PART = re.compile(r"[A-Za-z0-9_-]+")


def read(token: str, secret: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token whose signature is right."""
    header, claims, signature = token.split(".")
    assert all(PART.fullmatch(part) for part in (header, claims, signature)), token
    expected = hmac.new(secret.encode(), f"{header}.{claims}".encode(), hashlib.sha256).digest()
    assert hmac.compare_digest(_bytes(signature), expected), "the signature is wrong"
    return json.loads(_bytes(header)), json.loads(_bytes(claims))


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
