"""Define what the ledger takes and returns besides links and meetings. Times are in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from pool.model.links import Booked, Link, Source, State

EventSource = Literal["webhook", "reconcile"]
ASSIGNED = "assigned"  # how an event was matched: by a person


class RecordedClaim(msgspec.Struct, frozen=True, gc=False):
    """One claim on its way from Redis into the ledger."""

    slug: str
    url: str
    meeting_sid: str
    customer_id: str
    email: str | None
    metadata: dict[str, object] | None
    source: Source
    claimed_at: datetime
    lapses_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of recording a batch of claims."""

    written: int  # rows that changed; claims that were recorded before are not among them
    conflicts: tuple[RecordedClaim, ...]  # their slugs belong to other customers
    settled: tuple[Link, ...]  # rows of these claims that are consumed or cancelled
    forgotten: tuple[RecordedClaim, ...] = ()  # their customers were erased since


class Binding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One customer's link, as recovery loads it back into Redis.

    A Struct with times in milliseconds since 1970, for speed: recovery reads a million of them.
    """

    customer_id: str
    slug: str
    state: State
    source: Source
    claimed_at_ms: int
    lapses_at_ms: int | None
    consumed_at_ms: int | None
    booking_sid: str | None
    booked: Booked | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A link whose customer was erased, and the name of the binding they had in Redis."""

    slug: str
    customer_name: str


class EventState(StrEnum):
    """The state of an event in the inbox."""

    PENDING = "pending"  # kept, not yet worked on; due once `not_before` has passed
    SETTLED = "settled"  # it moved a link, or there was nothing to move; final
    UNMATCHED = "unmatched"  # matches no link; tried again later, or assigned by a person
    IGNORED = "ignored"  # its kind concerns no link; final unless replayed
    DEAD = "dead"  # failed too often; waits for a person to replay it


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A verified event on its way into the inbox. `id` is a hash of its content, in hex."""

    id: str
    workspace: str
    source: EventSource
    event: str
    body: bytes
    received_at: datetime
    booking_sid: str | None = None
    meeting_sid: str | None = None
    marks: bytes | None = None  # keyed hashes of what the body says; None: made later
    parent_sid: str | None = None  # the booking that this one's booking belongs to


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event of the inbox and its outcome."""

    id: str
    workspace: str
    source: EventSource
    event: str
    booking_sid: str | None
    meeting_sid: str | None
    body: bytes  # as it came; blank once its customer is forgotten
    received_at: datetime
    state: EventState
    reason: str
    slug: str | None
    match: str | None
    attempts: int  # failed attempts since it was last made pending
    last_error: str | None
    not_before: datetime | None
    seen: int  # how often it came; 1 for an event that was never repeated
    settled_at: datetime | None  # when it last left `pending`
    parent_sid: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key: its public id and the SHA-256 of the whole key, both in hex."""

    id: str
    digest: str
    scopes: frozenset[str]
    meetings: frozenset[str] | None  # None: all of them
    label: str
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None  # None: never
    last_used_at: datetime | None = None  # exact to a few minutes
    networks: tuple[str, ...] | None = None  # where it may be used from; None: anywhere

    def good_at(self, now: datetime) -> bool:
        """Return True if the key opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class TokenSecret:
    """A secret with which a site signs browser tokens; its text is derived, never kept."""

    id: str
    key_id: str  # of the API key in whose name it signs
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key with which pages of these origins claim for one meeting. It is no secret."""

    id: str  # the whole key
    meeting_sid: str
    origins: tuple[str, ...]
    label: str
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log: who did what to which meeting, when and why."""

    id: int
    at: datetime
    actor: str
    action: str
    meeting_sid: str | None
    reason: str
    detail: dict[str, object] = field(default_factory=dict)
    before: dict[str, object] | None = None  # of settings that were changed: what they were
