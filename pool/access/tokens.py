"""Sign and verify browser tokens: JWTs (HS256) that claim for one meeting and one customer.

The header's `kid` is the id of an API key, in whose name and within whose rights the token
claims. It is proof for nothing else. Verifying costs a stranger's token at most three HMACs over
a text of bounded length.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

from pool.access.api_keys import Caller, KeyRing
from pool.access.token_secrets import SecretRing
from pool.errors import InvalidRequest, InvalidToken, LedgerUnavailable, UnknownMeeting
from pool.model.emails import check_email
from pool.model.links import check_customer_id, is_sid

ALGORITHM = "HS256"
# Enough for a customer id of 256 characters, each an escaped pair, and an e-mail address.
TOKEN_CHARACTERS = 6_144
LONGEST_SECONDS = 24 * 3600  # from now until a token's `exp`
LEEWAY_SECONDS = 60  # clocks differ
# Exactly, whatever the library's base64 forgives.
_jwt = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_HEADERS = frozenset({"alg", "typ", "kid"})


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims in a token: one meeting, for one customer."""

    meeting: str
    customer_id: str
    email: str | None = None


class _Payload(msgspec.Struct):
    """A token's claims as they are signed; those that are not named here are ignored."""

    meeting: str
    customer_id: str
    exp: float | None = None
    email: str | None = None
    nbf: float | None = None
    aud: Any = None


_decode = msgspec.json.Decoder(_Payload).decode
_jws = jwt.PyJWS([ALGORITHM])


class Tokens:
    """Signs and verifies tokens in one process."""

    def __init__(
        self, keys: KeyRing, secrets: SecretRing, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._secrets = secrets
        self._clock = clock

    def sign(self, caller: Caller, claims: TokenClaims, expires_in_seconds: int) -> tuple[str, int]:
        """Return a token in the name of this caller's key, and the second at which it expires."""
        expires_at = int(self._clock()) + expires_in_seconds
        secret = self._secrets.of(caller.key_id, self._keys.digest(caller.key_id))[-1]
        return sign(secret, caller.key_id, claims, expires_at), expires_at

    def verify(self, token: str) -> tuple[Caller, TokenClaims]:
        """Return the caller in whose name a token claims, and its claims.

        What the caller's key may do is not checked here.

        Raise InvalidToken unless the token is whole, in time and signed with a secret of its key.
        For a token that is, raise UnknownMeeting, InvalidCustomerId or InvalidRequest if what it
        claims makes no sense, and LedgerUnavailable while the keys have not been read yet.
        """
        key_id = _key_id(token)
        caller = self._keys.caller(key_id)
        if caller is None:
            if not self._keys.loaded:
                raise LedgerUnavailable("the API keys have not been read from the ledger yet")
            raise InvalidToken("the key that `kid` names is unknown, revoked or expired")
        for secret in self._secrets.of(key_id, self._keys.digest(key_id)):
            if (payload := _payload(token, secret)) is not None:
                claims = _read(payload)
                self._check_times(claims)
                _check(claims)
                self._keys.note_use(key_id)
                return caller, TokenClaims(claims.meeting, claims.customer_id, claims.email)
        raise InvalidToken("the token is not signed with a valid token secret of its key")

    def _check_times(self, payload: _Payload) -> None:
        now = self._clock()
        if payload.exp is None:
            raise InvalidToken("the token has no `exp`, the second since 1970 at which it expires")
        if payload.exp + LEEWAY_SECONDS <= now:
            raise InvalidToken("the token has expired; sign a new one for each page view")
        if payload.exp > now + LONGEST_SECONDS + LEEWAY_SECONDS:
            raise InvalidToken("`exp` is more than 24 hours ahead")
        if payload.nbf is not None and payload.nbf > now + LEEWAY_SECONDS:
            raise InvalidToken("the token is not valid yet (`nbf`)")


def sign(secret: str, key_id: str, claims: TokenClaims, expires_at: int) -> str:
    """Return a token that expires at this second since 1970."""
    payload: dict[str, Any] = {
        "meeting": claims.meeting,
        "customer_id": claims.customer_id,
        "exp": expires_at,
    }
    if claims.email is not None:
        payload["email"] = claims.email
    return jwt.encode(payload, secret, algorithm=ALGORITHM, headers={"kid": key_id})


def _key_id(token: str) -> str:
    """Return the key id in a token's header, which proves nothing yet. Raise InvalidToken."""
    if len(token) > TOKEN_CHARACTERS:
        raise InvalidToken(f"the token is longer than {TOKEN_CHARACTERS} characters")
    if _jwt.fullmatch(token) is None:
        raise InvalidToken("the token is not a JWT in three parts")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise InvalidToken("the token's header is not a JSON object") from None
    if header.get("alg") != ALGORITHM:
        raise InvalidToken("the token's `alg` is not HS256, the only one that is accepted")
    if unknown := header.keys() - _HEADERS:
        # RFC 7515 demands that `crit` is refused; the other fields could only confuse.
        names = ", ".join(sorted(unknown))[:100]
        raise InvalidToken(f"the token's header has more than alg, typ and kid: {names!a}")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise InvalidToken("the token's header names no key: `kid` is the id of an API key")
    return key_id


def _payload(token: str, secret: str) -> bytes | None:
    """Return what a token says if it is signed with this secret, and None if it is not."""
    try:
        payload: bytes = _jws.decode(token, secret, algorithms=[ALGORITHM])
    except jwt.InvalidSignatureError:
        return None
    except jwt.PyJWTError:
        raise InvalidToken("the token is not a JWT that is accepted here") from None
    return payload


def _read(payload: bytes) -> _Payload:
    try:
        return _decode(payload)
    except msgspec.ValidationError as error:
        raise InvalidRequest("the token's claims are invalid", [f"token: {error}"]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidToken("the token's claims are not a JSON object") from None


def _check(payload: _Payload) -> None:
    if payload.aud is not None:
        raise InvalidToken("the token is for another audience (`aud`)")
    if not is_sid(payload.meeting):
        raise UnknownMeeting("a SID has 1 to 64 letters, digits, hyphens and underscores")
    check_customer_id(payload.customer_id)
    if payload.email is not None:
        check_email(payload.email)
