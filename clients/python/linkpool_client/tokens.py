"""Tokens with which a browser claims for one meeting and one customer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from datetime import timedelta

_KEY_ID = re.compile(r"[0-9a-f]{8}")
_SECRET_CHARACTERS = 32
_CUSTOMER_ID_CHARACTERS = 256


def sign_token(
    secret: str,
    key_id: str,
    meeting: str,
    customer_id: str,
    expires_in: int | timedelta,
    email: str | None = None,
) -> str:
    """Return a JWT (HS256) with which a browser claims for this meeting and customer.

    `secret` is the token secret of the API key whose id (8 hex digits) is `key_id`;
    `expires_in` is in seconds. Sign where the visitor cannot look: whoever has the secret can
    claim for everybody. The token itself opens nothing else, but its claims can be read.
    """
    if len(secret) < _SECRET_CHARACTERS:
        raise ValueError(f"the secret has fewer than {_SECRET_CHARACTERS} characters")
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError("key_id is the id of an API key: the 8 hex digits after lp_")
    if not meeting or not 1 <= len(customer_id) <= _CUSTOMER_ID_CHARACTERS:
        raise ValueError("a token needs a meeting, and a customer id of 1 to 256 characters")
    seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    if seconds <= 0:
        raise ValueError("expires_in must be more than 0 seconds")
    claims: dict[str, object] = {
        "meeting": meeting,
        "customer_id": customer_id,
        "exp": int(time.time() + seconds),
    }
    if email is not None:
        claims["email"] = email
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key_id})}.{_part(claims)}"
    signature = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_base64url(signature)}"


def _part(value: dict[str, object] | dict[str, str]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
