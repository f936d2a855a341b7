"""Make, revoke and know the public keys with which pages without a backend claim.

A public key is `pk_<24 hex>`, bound to one meeting and an exact list of origins. It is no secret:
everybody who visits the page can read it. Browsers report a page's origin truthfully, but other
programs can send any origin. So the limits and the meeting's reserve are what protects the pool.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from pool.errors import (
    InvalidPublicKey,
    InvalidRequest,
    LedgerUnavailable,
    OriginNotAllowed,
    UnknownKey,
    UnknownMeeting,
)
from pool.ledger import Ledger
from pool.ledger.records import PublicKey

ORIGINS = 50  # of one key, at most
_host = re.compile(r"[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]")
_PORTS = {"http": 80, "https": 443}


def check_origin(text: str) -> str:
    """Return the origin if it is written as browsers write it. Raise InvalidRequest otherwise.

    It has a scheme, a host in lower-case ASCII, and a port unless it is the scheme's default, and
    nothing after that.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _not_an_origin(text) from None
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    is_exact = (
        parts.scheme in _PORTS
        and _host.fullmatch(host)
        and port != _PORTS[parts.scheme]
        and text == f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
    )
    if not is_exact:
        raise _not_an_origin(text)
    return text


def _not_an_origin(text: str) -> InvalidRequest:
    return InvalidRequest(
        f"origins: {text[:100]!a} is not an origin as browsers write it, like "
        "https://www.example.com or http://localhost:3000: no path, no final slash"
    )


async def issue_public_key(
    ledger: Ledger, sid: str, origins: Iterable[str], label: str, actor: str
) -> PublicKey:
    """Make a public key for a meeting, and write to the audit log who made it.

    Raise InvalidRequest unless there is an origin and each is one, and UnknownMeeting.
    """
    exact = tuple(dict.fromkeys(check_origin(each) for each in origins))
    if not 1 <= len(exact) <= ORIGINS:
        raise InvalidRequest(f"origins: name 1 to {ORIGINS} origins of the pages that may claim")
    if await ledger.meetings.get(sid) is None:
        raise UnknownMeeting(f"there is no meeting {sid}; add it with PUT /v1/meetings/{sid}")
    key = PublicKey(f"pk_{secrets.token_hex(12)}", sid, exact, label, datetime.now(UTC))
    await ledger.public_keys.add(key)
    detail: dict[str, object] = {"id": key.id, "origins": list(exact)}
    await ledger.audit.add(actor, "public-key-create", sid, label, detail)
    return key


async def revoke_public_key(
    ledger: Ledger, key_id: str, actor: str, reason: str = "", *, sid: str | None = None
) -> None:
    """Revoke a public key, of this meeting if one is given, and write to the audit log who did it.

    Every process refuses it within 5 s. Raise UnknownKey if no such key is valid.
    """
    meeting = await ledger.public_keys.revoke(key_id, datetime.now(UTC), sid)
    if meeting is None:
        raise UnknownKey("there is no such public key; see `linkpool public-keys list`")
    await ledger.audit.add(actor, "public-key-revoke", meeting, reason, {"id": key_id})


class PublicKeyRing:
    """The public keys that a process holds in memory. Call `refresh` at least every 2 s."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys: dict[str, PublicKey] = {}
        self._loaded = False

    async def refresh(self) -> None:
        """Read the valid keys from the ledger.

        Raise LedgerUnavailable if the ledger does not answer; what was read before stays in use.
        """
        found = await self._ledger.public_keys.all()
        self._keys = {key.id: key for key in found if key.revoked_at is None}
        self._loaded = True

    def admit(self, key_id: str, origin: str | None) -> PublicKey:
        """Return the key, for a page of this origin.

        Raise InvalidPublicKey or OriginNotAllowed, and LedgerUnavailable while the keys have not
        been read yet.
        """
        key = self._keys.get(key_id)
        if key is None:
            if not self._loaded:
                raise LedgerUnavailable("the public keys have not been read from the ledger yet")
            raise InvalidPublicKey("this public key is unknown or revoked")
        if origin is None:
            raise OriginNotAllowed("the request names no origin: a public key is for pages")
        if origin not in key.origins:
            raise OriginNotAllowed("this public key is not for pages of this origin")
        return key
