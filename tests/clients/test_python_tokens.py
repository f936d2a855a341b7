"""Test browser tokens that the Python client signs."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from linkpool_client import sign_token

from tests.clients.jwt_reader import read

SECRET = "a-token-secret-of-at-least-32-characters"


def test_a_token_says_no_more_than_the_contract() -> None:
    """It has HS256 and the key's id in the header, and exactly the requested claims."""
    before = int(time.time())
    token = sign_token(SECRET, "1a2b3c4d", "demo", "order-4711", 600)
    header, claims = read(token, SECRET)
    assert header == {"alg": "HS256", "typ": "JWT", "kid": "1a2b3c4d"}
    assert before + 600 <= claims.pop("exp") <= time.time() + 600
    assert claims == {"meeting": "demo", "customer_id": "order-4711"}


def test_a_token_carries_an_email_and_any_letters() -> None:
    """The lifetime may be a timedelta, and names beyond ASCII are preserved."""
    token = sign_token(SECRET, "1a2b3c4d", "demo", "zoë/👋", timedelta(hours=1), "zoë@example.com")
    _, claims = read(token, SECRET)
    assert claims["exp"] == pytest.approx(time.time() + 3600, abs=5)
    assert (claims["customer_id"], claims["email"]) == ("zoë/👋", "zoë@example.com")
    with pytest.raises(AssertionError, match="signature"):
        read(token, SECRET + "x")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secret": "short"}, "32 characters"),
        ({"key_id": "lp_1a2b3c4d"}, "8 hex digits"),
        ({"key_id": "1A2B3C4D"}, "8 hex digits"),
        ({"meeting": ""}, "meeting"),
        ({"customer_id": ""}, "customer id"),
        ({"customer_id": "x" * 257}, "customer id"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": timedelta(seconds=-1)}, "expires_in"),
    ],
)
def test_a_token_that_could_not_work_is_not_made(wrong: dict[str, Any], said: str) -> None:
    """The backend gets an error that says what is wrong, and never shows the secret."""
    right = {"secret": SECRET, "key_id": "1a2b3c4d", "meeting": "demo", "customer_id": "c"}
    with pytest.raises(ValueError, match=said) as raised:
        sign_token(**({"expires_in": 60} | right | wrong))
    assert SECRET not in str(raised.value)
