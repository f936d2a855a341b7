"""Forge browser tokens: good ones, and one for each way in which a token can be bad."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def part(value: object) -> str:
    """Return a part of a JWT; bytes are taken as they are."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, claims: object, secret: str, digest: str = "sha256") -> str:
    """Return a JWT whose parts are these, signed by HMAC whatever its header says."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), digest))}"


@dataclass(frozen=True)
class Forge:
    """A key, a secret of it, and the time."""

    key_id: str
    secret: str
    now: int

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": "HS256", "typ": "JWT", "kid": self.key_id}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return claims with these changes; None leaves one out."""
        claims = {"meeting": "demo", "customer_id": "visitor-1", "exp": self.now + 600} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def good(self, **changes: Any) -> str:
        """Return a token that is good but for these changes of its claims."""
        return signed(self.header, self.claims(**changes), self.secret)

    def headed(self, **changes: Any) -> str:
        """Return a token that is good but for these changes of its header."""
        header = {k: v for k, v in (self.header | changes).items() if v is not None}
        return signed(header, self.claims(), self.secret)


def _unsigned(forge: Forge) -> str:
    return f"{part(forge.header | {'alg': 'none'})}.{part(forge.claims())}."


def _bent(forge: Forge) -> str:
    head, claims, signature = forge.good().split(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "="))
    flipped[0] ^= 1
    return f"{head}.{claims}.{part(bytes(flipped))}"


def _other_claims(forge: Forge) -> str:
    head, _, signature = forge.good().split(".")
    return f"{head}.{part(forge.claims(customer_id='visitor-2'))}.{signature}"


# What is wrong: the token, and the status that answers it.
BAD_TOKENS: dict[str, tuple[Callable[[Forge], str], int]] = {
    "no JWT": (lambda _: "hello", 401),
    "two parts": (lambda f: f.good().rpartition(".")[0], 401),
    "four parts": (lambda f: f.good() + ".x", 401),
    "no header": (lambda f: "." + f.good().partition(".")[2], 401),
    "header is a list": (lambda f: signed([], f.claims(), f.secret), 401),
    "header is no JSON": (lambda f: signed(b"{", f.claims(), f.secret), 401),
    "header is deep": (lambda f: signed(b"[" * 3_000, f.claims(), f.secret), 401),
    "header is a long number": (lambda f: signed(b"9" * 4_400, f.claims(), f.secret), 401),
    "not in base64url": (lambda f: f.good().replace(".", ".+/", 1), 401),
    "padded": (lambda f: f.good() + "=", 401),
    "with white space": (lambda f: f.good() + "\n", 401),
    "not in ASCII": (lambda f: f.good() + "é", 401),
    "alg none": (_unsigned, 401),
    "alg None, signed": (lambda f: f.headed(alg="None"), 401),
    "alg HS384": (
        lambda f: signed(f.header | {"alg": "HS384"}, f.claims(), f.secret, "sha384"),
        401,
    ),
    "alg RS256": (lambda f: f.headed(alg="RS256"), 401),
    "alg in lower case": (lambda f: f.headed(alg="hs256"), 401),
    "alg is a list": (lambda f: f.headed(alg=["HS256"]), 401),
    "no alg": (lambda f: f.headed(alg=None), 401),
    "crit": (lambda f: f.headed(crit=["exp"]), 401),
    "crit b64": (lambda f: f.headed(crit=["b64"], b64=True), 401),
    "b64 false": (lambda f: f.headed(crit=["b64"], b64=False), 401),
    "a key in the header": (lambda f: f.headed(jwk={"kty": "oct", "k": "c2VjcmV0"}), 401),
    "an address of keys": (lambda f: f.headed(jku="https://example.com/keys"), 401),
    "no kid": (lambda f: f.headed(kid=None), 401),
    "empty kid": (lambda f: f.headed(kid=""), 401),
    "kid is a number": (lambda f: f.headed(kid=1), 401),
    "kid is a path": (lambda f: f.headed(kid="../../dev/null"), 401),
    "unknown kid": (lambda f: f.headed(kid="00000000"), 401),
    "admin's kid": (lambda f: f.headed(kid="admin"), 401),
    "another secret": (lambda f: signed(f.header, f.claims(), "x" * 43), 401),
    "empty secret": (lambda f: signed(f.header, f.claims(), ""), 401),
    "no signature": (lambda f: f.good().rpartition(".")[0] + ".", 401),
    "a bent signature": (_bent, 401),
    "a short signature": (lambda f: f.good()[:-8], 401),
    "claims of another": (_other_claims, 401),
    "SHA-1": (lambda f: signed(f.header, f.claims(), f.secret, "sha1"), 401),
    "claims are no JSON": (lambda f: signed(f.header, b"{", f.secret), 401),
    "claims are no UTF-8": (lambda f: signed(f.header, b'{"meeting": "\xff"}', f.secret), 401),
    "claims are deep": (
        lambda f: signed(f.header, b'{"a": ' + b"[" * 3_000 + b"}", f.secret),
        401,
    ),
    "expired": (lambda f: f.good(exp=f.now - 61), 401),
    "no exp": (lambda f: f.good(exp=None), 401),
    "exp too far ahead": (lambda f: f.good(exp=f.now + 24 * 3600 + 120), 401),
    "exp without end": (lambda f: signed(f.header, _raw(f, b"1e999"), f.secret), 422),
    "not yet": (lambda f: f.good(nbf=f.now + 3600), 401),
    "for an audience": (lambda f: f.good(aud="somebody"), 401),
    "oversize": (lambda f: f.good(padding="x" * 5_000), 401),
    "claims are a list": (lambda f: signed(f.header, [f.claims()], f.secret), 422),
    "exp is a text": (lambda f: f.good(exp=str(f.now + 600)), 422),
    "exp is true": (lambda f: f.good(exp=True), 422),
    "no meeting": (lambda f: f.good(meeting=None), 422),
    "meeting is a list": (lambda f: f.good(meeting=["demo"]), 422),
    "no customer": (lambda f: f.good(customer_id=None), 422),
    "customer is a number": (lambda f: f.good(customer_id=7), 422),
    "empty customer": (lambda f: f.good(customer_id=""), 422),
    "long customer": (lambda f: f.good(customer_id="x" * 257), 422),
    "customer with NUL": (lambda f: f.good(customer_id="a\0b"), 422),
    "no e-mail": (lambda f: f.good(email="nobody"), 422),
    "meeting is no SID": (lambda f: f.good(meeting="../demo"), 404),
}


def _raw(forge: Forge, exp: bytes) -> bytes:
    return b'{"meeting": "demo", "customer_id": "visitor-1", "exp": %b}' % exp
