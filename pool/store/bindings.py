"""Write a customer and their link for Redis: as a keyed hash and a compact value."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from typing import Literal

from pool.model.emails import same_email
from pool.model.links import Booked, Claim, Source
from pool.model.marks import Marks
from pool.model.pools import sid_of

_STATES: dict[str, Literal["claimed", "consumed"]] = {"c": "claimed", "x": "consumed"}
_SOURCES: dict[str, Source] = {"p": "pool", "d": "direct"}
_BETWEEN = "\x1f"  # separates a booking's fields, none of which holds control characters
_BEGUN_KEPT = 20_000  # meetings; about 10 MB


class CustomerNames:
    """Names of customers: keyed hashes of fixed size, so that Redis keys hold no personal data.

    Two processes agree on the names exactly when they share the secret key.
    """

    def __init__(self, secret_key: bytes) -> None:
        self._key = hashlib.sha256(b"linkpool customer names\0" + secret_key).digest()
        self._begun: dict[str, hashlib.blake2b] = {}
        self.marks = Marks(secret_key)  # by these the ledger recognises erased customers

    def name(self, sid: str, customer_id: str) -> str:
        """Return 16 characters of base64 (96 bits) that name this customer of this meeting.

        `sid` may be the name of any of the meeting's pools: the customer's name stays the same.
        Two of a million customers of a meeting share a name once in 10^17 meetings.
        """
        begun = self._begun.get(sid)
        if begun is None:
            begun = self._begin(sid)
        # Copying a hash that has taken in the meeting is twice as fast as starting a new one.
        digest = begun.copy()
        digest.update(customer_id.encode())
        return b2a_base64(digest.digest(), newline=False).decode()

    def _begin(self, sid: str) -> hashlib.blake2b:
        if len(self._begun) >= _BEGUN_KEPT:
            self._begun.clear()
        begun = hashlib.blake2b(f"{sid_of(sid)}\0".encode(), key=self._key, digest_size=12)
        self._begun[sid] = begun
        return begun

    def email_name(self, email: str) -> str:
        """Return the keyed hash under which a booking's e-mail is kept.

        Addresses that count as the same one have the same hash.
        """
        text = b"e-mail\0" + same_email(email).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=16).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Return a hash that distinguishes secret keys without revealing one."""
        return hashlib.sha256(b"linkpool fingerprint\0" + self._key).hexdigest()[:16]


def pack(claim: Claim) -> str:
    """Return the value of a binding key, in the form that lua/fence.lua documents."""
    state = "x" if claim.state == "consumed" else "c"
    head = f"{state}{claim.source[0]}{claim.claimed_at_ms}:{claim.slug}"
    if claim.state != "consumed":
        return head
    head = f"{head}:{claim.consumed_at_ms or 0}:{claim.booking_sid or ''}"
    if claim.booked is None:
        return head
    booked = claim.booked
    known = (booked.state, booked.starts_at_ms, booked.ends_at_ms, booked.time_zone)
    parts = ("" if part is None else str(part) for part in (*known, booked.manage_url))
    return _BETWEEN.join((head, *parts))


def unpack(value: str) -> Claim:
    """Return the claim in a value that `pack` or a script wrote."""
    claimed_at, slug, *consumed = value[2:].split(":", 3)
    if not consumed:
        return Claim(slug, _STATES[value[0]], _SOURCES[value[1]], int(claimed_at))
    booking_sid, *known = consumed[1].split(_BETWEEN)
    return Claim(
        slug=slug,
        state=_STATES[value[0]],
        source=_SOURCES[value[1]],
        claimed_at_ms=int(claimed_at),
        consumed_at_ms=int(consumed[0]) or None,
        booking_sid=booking_sid or None,
        booked=_booked(booking_sid, *known) if known else None,
    )


def _booked(sid: str, state: str, starts: str, ends: str, zone: str, url: str) -> Booked:
    return Booked(
        sid,
        state,
        int(starts) if starts else None,
        int(ends) if ends else None,
        zone or None,
        url or None,
    )
