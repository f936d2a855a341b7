"""Make, keep, rotate and revoke API keys, and find the caller a key belongs to.

A key is `lp_<8 hex id>_<43 url-safe characters>`. Only its SHA-256 is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pool.config.networks import Networks, holds, networks_of
from pool.errors import Forbidden, LedgerUnavailable, Unauthorized, UnknownKey
from pool.ledger import Ledger
from pool.ledger.records import ApiKey

LAST_USED_SECONDS = 300.0  # between two records of a key's use, per process


class Scope(StrEnum):
    """A permission of a key; admin includes the others."""

    __hash__ = str.__hash__  # as strings have it; an enumeration's own takes ten times as long

    CLAIM = "claim"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of the key that a request carries, and what that key allows."""

    key_id: str
    scopes: frozenset[str]
    meetings: frozenset[str] | None  # None: all
    networks: Networks | None = None  # the key may be used from these; None: from anywhere

    def check(self, scope: Scope, sid: str | None = None) -> None:
        """Raise Forbidden unless this caller has the scope and may use the meeting."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Forbidden(f"this key lacks the scope {scope.value}")
        if self.meetings is not None and sid is not None and sid not in self.meetings:
            raise Forbidden("this key has no access to this meeting")

    def check_address(self, address: str) -> None:
        """Raise Forbidden if the key may not be used from this address."""
        if self.networks is not None and not holds(self.networks, address):
            raise Forbidden("this key may not be used from this address")

    @property
    def limited(self) -> bool:
        """Return True if this caller is limited to some meetings."""
        return self.meetings is not None

    def check_everywhere(self, scope: Scope) -> None:
        """Raise Forbidden unless this caller has the scope for all meetings."""
        self.check(scope)
        if self.meetings is not None:
            raise Forbidden("this key is limited to some meetings, but this call needs all")


def make_key(
    scopes: frozenset[str],
    meetings: frozenset[str] | None,
    label: str,
    *,
    expires_at: datetime | None = None,
    networks: tuple[str, ...] | None = None,
) -> tuple[str, ApiKey]:
    """Return a new key, first in clear for its owner, then as the ledger keeps it."""
    key_id = secrets.token_hex(4)
    key = f"lp_{key_id}_{secrets.token_urlsafe(32)}"
    return key, ApiKey(
        id=key_id,
        digest=digest(key.encode()),
        scopes=scopes,
        meetings=meetings,
        label=label,
        created_at=datetime.now(UTC),
        expires_at=expires_at,
        networks=networks,
    )


async def issue_key(
    ledger: Ledger,
    scopes: frozenset[str],
    meetings: frozenset[str] | None,
    label: str,
    actor: str,
    *,
    expires_at: datetime | None = None,
    networks: tuple[str, ...] | None = None,
) -> tuple[str, ApiKey]:
    """Make a key, store its hash, and write to the audit log who made it.

    Return the key in clear, which is never shown again, and the stored record.
    """
    key, kept = make_key(scopes, meetings, label, expires_at=expires_at, networks=networks)
    await ledger.keys.add(kept)
    detail: dict[str, object] = {"id": kept.id, "scopes": sorted(scopes)}
    if meetings is not None:
        detail["meetings"] = sorted(meetings)
    if networks is not None:
        detail["networks"] = list(networks)
    if expires_at is not None:
        detail["expires_at"] = expires_at.isoformat(timespec="seconds")
    await ledger.audit.add(actor, "key-create", None, label, detail)
    return key, kept


async def rotate_key(
    ledger: Ledger, key_id: str, overlap_seconds: float, actor: str, reason: str = ""
) -> tuple[str, ApiKey]:
    """Make a new key with the same permissions, and let the old key expire after the overlap.

    Where the old key had an expiry, the new one lives for the same length of time. Return the
    new key in clear, which is never shown again, and the stored record. Raise UnknownKey if no
    live key has this id.
    """
    now = datetime.now(UTC)
    old = next((key for key in await ledger.keys.all() if key.id == key_id), None)
    if old is None or not old.good_at(now):
        raise no_live_key(key_id)
    lives = None if old.expires_at is None else old.expires_at - old.created_at
    key, kept = make_key(
        old.scopes,
        old.meetings,
        old.label,
        expires_at=None if lives is None else now + lives,
        networks=old.networks,
    )
    await ledger.keys.add(kept)
    ends_at = now + timedelta(seconds=overlap_seconds)
    await ledger.keys.expire(key_id, ends_at)
    detail = {"id": key_id, "new_id": kept.id, "ends_at": ends_at.isoformat(timespec="seconds")}
    await ledger.audit.add(actor, "key-rotate", None, reason or old.label, detail)
    return key, kept


def no_live_key(key_id: str) -> UnknownKey:
    """Return the error to raise where no live key has this id."""
    return UnknownKey(f"there is no live key with the id {key_id}; see `linkpool keys list`")


async def revoke_key(ledger: Ledger, key_id: str, actor: str, reason: str = "") -> None:
    """Revoke a key, and write to the audit log who did it.

    Every process refuses the key within 5 s. Raise UnknownKey if no live key has this id.
    """
    if not await ledger.keys.revoke(key_id, datetime.now(UTC)):
        raise no_live_key(key_id)
    await ledger.audit.add(actor, "key-revoke", None, reason, {"id": key_id})


def digest(key: bytes) -> str:
    """Return the SHA-256 of a key, in hex."""
    return hashlib.sha256(key).hexdigest()


class KeyRing:
    """The API keys that a process holds in memory.

    Call `refresh` at least every 2 s: then a revoked key stops working within 5 s.
    """

    def __init__(self, ledger: Ledger, admin_key: str | None) -> None:
        self._ledger = ledger
        self._admin_digest = digest(admin_key.encode()) if admin_key else None
        self._keys: dict[str, tuple[str, Caller]] = {}
        self._expiries: dict[str, datetime] = {}
        self._used: set[str] = set()  # since the last refresh
        self._noted_at: dict[str, float] = {}
        self._loaded = False

    @property
    def loaded(self) -> bool:
        """Return True once the keys have been read from the ledger."""
        return self._loaded

    async def refresh(self) -> None:
        """Read the keys from the ledger, and drop those that have expired.

        Raise LedgerUnavailable if the ledger does not answer. The keys read before then stay
        in use until they expire.
        """
        now = datetime.now(UTC)
        for key_id, expires_at in self._expiries.items():
            if expires_at <= now:
                self._keys.pop(key_id, None)
        good = [key for key in await self._ledger.keys.all() if key.good_at(now)]
        # Expired keys are not kept, so that claims need not check the expiry.
        self._keys = {key.id: (key.digest, _caller(key)) for key in good}
        self._expiries = {key.id: key.expires_at for key in good if key.expires_at is not None}
        self._loaded = True
        await self._note_use(now)

    async def _note_use(self, now: datetime) -> None:
        """Write to the ledger which keys were used, each at most once per LAST_USED_SECONDS."""
        used, self._used = self._used, set()
        clock = time.monotonic()
        due = [
            key_id
            for key_id in used & self._keys.keys()
            if clock - self._noted_at.get(key_id, -LAST_USED_SECONDS) >= LAST_USED_SECONDS
        ]
        if due:
            await self._ledger.keys.note_use(due, now)
            self._noted_at.update(dict.fromkeys(due, clock))
            self._noted_at = {
                key_id: at for key_id, at in self._noted_at.items() if key_id in self._keys
            }

    def digest(self, key_id: str) -> str:
        """Return the digest of the key that has this id now, or an empty string if none has."""
        if key_id == _ADMIN.key_id:
            return self._admin_digest or ""
        known = self._keys.get(key_id)
        return known[0] if known else ""

    def caller(self, key_id: str) -> Caller | None:
        """Return the caller of this key id, or None if the key is unknown or revoked."""
        if key_id == _ADMIN.key_id:
            return _ADMIN if self._admin_digest else None
        known = self._keys.get(key_id)
        return known[1] if known else None

    def note_use(self, key_id: str) -> None:
        """Note that a token was used in the name of this key."""
        self._used.add(key_id)

    def authenticate(self, key: bytes | None) -> Caller:
        """Return the caller whose key this is.

        Raise Unauthorized if the key is missing or not good, and LedgerUnavailable while the
        keys have not been read yet.
        """
        if not key:
            raise Unauthorized("send an API key as X-API-Key, or as Authorization: Bearer")
        found = digest(key)
        if self._admin_digest and hmac.compare_digest(found, self._admin_digest):
            return _ADMIN
        known = self._keys.get(key[3:11].decode("latin-1"))
        if known is not None and hmac.compare_digest(found, known[0]):
            self._used.add(known[1].key_id)
            return known[1]
        if not self._loaded:
            raise LedgerUnavailable("the API keys have not been read from the ledger yet")
        raise Unauthorized("this API key is unknown, revoked or expired")


def _caller(key: ApiKey) -> Caller:
    networks = None if key.networks is None else networks_of(" ".join(key.networks))
    return Caller(key.id, key.scopes, key.meetings, networks)


_ADMIN = Caller("admin", frozenset({Scope.ADMIN.value}), None)
