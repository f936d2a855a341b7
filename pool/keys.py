"""API keys: how they look, what they may do, and how one is told from another.

A key is `lp_<8 hex id>_<43 url-safe characters>`. Only its SHA-256 is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pool.errors import Forbidden, LedgerUnavailable, Unauthorized, UnknownKey
from pool.ledger import Ledger
from pool.ledger.records import ApiKey


class Scope(StrEnum):
    """What a key may do; admin includes the others."""

    CLAIM = "claim"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from."""

    key_id: str
    scopes: frozenset[str]
    meetings: frozenset[str] | None  # None: all

    def check(self, scope: Scope, sid: str | None = None) -> None:
        """Raises Forbidden unless this caller may do that, to that meeting."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Forbidden(f"this key lacks the scope {scope.value}")
        if self.meetings is not None and sid is not None and sid not in self.meetings:
            raise Forbidden("this key may not touch this meeting")

    def check_everywhere(self, scope: Scope) -> None:
        """Raises Forbidden unless this caller may do that to all meetings."""
        self.check(scope)
        if self.meetings is not None:
            raise Forbidden("this key is limited to some meetings, and this call is about all")


def make_key(
    scopes: frozenset[str], meetings: frozenset[str] | None, label: str
) -> tuple[str, ApiKey]:
    """A new key, in clear for its owner and as the ledger keeps it."""
    key_id = secrets.token_hex(4)
    key = f"lp_{key_id}_{secrets.token_urlsafe(32)}"
    return key, ApiKey(
        id=key_id,
        digest=digest(key.encode()),
        scopes=scopes,
        meetings=meetings,
        label=label,
        created_at=datetime.now(UTC),
    )


async def issue_key(
    ledger: Ledger,
    scopes: frozenset[str],
    meetings: frozenset[str] | None,
    label: str,
    actor: str,
) -> tuple[str, ApiKey]:
    """Makes a key, keeps its hash and notes who made it; the key in clear, for once."""
    key, kept = make_key(scopes, meetings, label)
    await ledger.keys.add(kept)
    detail: dict[str, object] = {"id": kept.id, "scopes": sorted(scopes)}
    if meetings is not None:
        detail["meetings"] = sorted(meetings)
    await ledger.audit.add(actor, "key-create", None, label, detail)
    return key, kept


async def revoke_key(ledger: Ledger, key_id: str, actor: str, reason: str = "") -> None:
    """Revokes a key and notes who did; processes heed it within 5 s. Raises UnknownKey."""
    if not await ledger.keys.revoke(key_id, datetime.now(UTC)):
        raise UnknownKey(
            f"there is no live key with the id {key_id}; `linkpool keys list` has them"
        )
    await ledger.audit.add(actor, "key-revoke", None, reason, {"id": key_id})


def digest(key: bytes) -> str:
    """The SHA-256 of a key, in hex."""
    return hashlib.sha256(key).hexdigest()


class KeyRing:
    """The keys a process knows by heart; `refresh` at least every 2 s makes a revoked one
    stop working within 5."""

    def __init__(self, ledger: Ledger, admin_key: str | None) -> None:
        self._ledger = ledger
        self._admin_digest = digest(admin_key.encode()) if admin_key else None
        self._keys: dict[str, tuple[str, Caller]] = {}
        self._loaded = False

    @property
    def loaded(self) -> bool:
        """Whether the keys have been read from the ledger since the start."""
        return self._loaded

    async def refresh(self) -> None:
        """Reads the keys from the ledger. Raises LedgerUnavailable; what was known stays."""
        self._keys = {
            key.id: (key.digest, Caller(key.id, key.scopes, key.meetings))
            for key in await self._ledger.keys.all()
            if key.revoked_at is None
        }
        self._loaded = True

    def caller(self, key_id: str) -> Caller | None:
        """The caller of this key id, unless it is unknown or revoked."""
        if key_id == _ADMIN.key_id:
            return _ADMIN if self._admin_digest else None
        known = self._keys.get(key_id)
        return known[1] if known else None

    def authenticate(self, key: bytes | None) -> Caller:
        """Whose key this is. Raises Unauthorized, or LedgerUnavailable while no key is known."""
        if not key:
            raise Unauthorized("send an API key as X-API-Key, or as Authorization: Bearer")
        found = digest(key)
        if self._admin_digest and hmac.compare_digest(found, self._admin_digest):
            return _ADMIN
        known = self._keys.get(key[3:11].decode("latin-1"))
        if known is not None and hmac.compare_digest(found, known[0]):
            return known[1]
        if not self._loaded:
            raise LedgerUnavailable("API keys cannot be read from the ledger yet")
        raise Unauthorized("this API key is wrong or revoked")


_ADMIN = Caller("admin", frozenset({Scope.ADMIN.value}), None)
