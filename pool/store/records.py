"""Define what the store takes and returns: frozen, as all values that cross modules are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple

import msgspec

from pool.model.links import Claim, Source


class Outcome(StrEnum):
    """The result of the claim script for one customer."""

    __hash__ = str.__hash__  # as strings have it; an enumeration's own takes ten times as long

    NEW = "new"
    REUSED = "reused"
    EMPTY = "empty"
    PAUSED = "paused"
    LIMITED = "limited"


class Replaced(StrEnum):
    """The result of the replace script."""

    NEW = "new"  # bound now
    BEFORE = "before"  # the customer holds another link than the one that was to go
    NONE = "none"  # the customer holds no link
    BOOKED = "booked"  # the link is booked
    EMPTY = "empty"
    PAUSED = "paused"


class Replacing(msgspec.Struct, frozen=True, gc=False):
    """The result of a replacement, and the link that the customer holds after it, if any."""

    outcome: Replaced
    claim: Claim | None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One customer's part of a batch. `claim` is set exactly if the outcome is new or reused."""

    outcome: Outcome
    claim: Claim | None


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The answers of one script call, in the order asked, and the level that is left."""

    answers: list[Answer]
    level: int
    nudge: bool  # a top-up should be requested


# sealed: by this server since its start; foreign: of another ledger; unreadable: a key of the pool
# is of another type, or its master of a Redis Cluster is away
Fence = Literal["stands", "fallen", "sealed", "foreign", "unreadable"]


class PoolFence(NamedTuple):
    """The fence of one pool, as it is on the server that was asked."""

    sid: str
    fence: Fence
    epoch: str


class Level(msgspec.Struct, frozen=True, gc=False):
    """One pool at one moment. Times are milliseconds by Redis's clock.

    A Struct, for speed: a sweep reads thousands.
    """

    sid: str
    fresh: int
    fence: Fence
    epoch: str
    backlog: int  # claims that the ledger does not have yet
    claims_per_second: float
    oldest_fresh_seconds: float | None
    block: Block | None
    published: str  # digest of the meeting as published in this Redis; empty if it is not
    target: int | None  # the level below which claims ask for a top-up
    now_ms: int
    totals: Totals
    problem: str = ""  # why the pool's keys cannot be read


@dataclass(frozen=True, slots=True)
class Totals:
    """Running totals of one meeting.

    Only their growth means something: a Redis that lost its data starts again at 0.
    """

    claims: int = 0  # answered with a link that was new to the customer
    top_ups: int = 0  # links that entered the pool
    bookings: int = 0


class Block(msgspec.Struct, frozen=True):
    """The reason why the provider is not asked, and the time of its next probe by Redis's clock."""

    reason: str
    since_ms: int
    probe_at_ms: int
    kind: str = ""  # refusals of one kind are alike: pool.supply.blame.kind_of
    probes: int = 0  # made so far

    def is_probe_due(self, now_ms: int, probe_seconds: float) -> bool:
        """Return True if the provider may be asked once.

        A time further ahead than any that is ever set was set before the clock went back.
        """
        return not now_ms < self.probe_at_ms <= now_ms + probe_seconds * 1000

    def put_off(self, now_ms: int, probe_seconds: float) -> Block:
        """Return the same block with its next probe put off."""
        return msgspec.structs.replace(self, probe_at_ms=now_ms + int(probe_seconds * 1000))

    def probed(self, now_ms: int, probe_seconds: float) -> Block:
        """Return the block as `put_off` does, for a caller who makes the probe that is due."""
        return msgspec.structs.replace(self.put_off(now_ms, probe_seconds), probes=self.probes + 1)


class StreamedClaim(msgspec.Struct, frozen=True, gc=False):
    """A claim as the stream holds it for the recorder. Other claims may share its entry."""

    entry_id: str
    slug: str
    customer_id: str
    email: str | None
    metadata: dict[str, object] | None
    source: Source
    claimed_at_ms: int
    replaces: str | None = None  # the slug of the link that this one replaced
    reason: str = ""  # why that link was replaced


class AnsweredClaim(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A claim that this process answered, kept to be asserted again after a fence fell."""

    customer_id: str
    claim: Claim
    ttl_ms: int
    payload: bytes


class Span(Enum):
    """The reach of a history into the past, and its steps."""

    HOUR = (10, 3_600)
    DAY = (60, 86_400)
    WEEK = (3_600, 7 * 86_400)
    FIVE_WEEKS = (3_600, 35 * 86_400)

    def __init__(self, step_seconds: int, seconds: int) -> None:
        self.step_seconds = step_seconds
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One meeting as a sweep saw it, and what happened since the sample before."""

    at_ms: int  # the beginning of the slot in which it was taken
    level: int
    lowest: int  # the lowest level that any sweep saw since the sample before
    target: int
    claims: int
    top_ups: int
    bookings: int
    covers_seconds: int  # the time since the sample before, over which the counts were made
    after_gap: bool  # no sweep for longer than usual, so a chart breaks its line here

    @property
    def claims_per_second(self) -> float:
        """Return claims per second over the time the sample covers."""
        return self.claims / self.covers_seconds

    @property
    def top_ups_per_second(self) -> float:
        """Return links per second that entered the pool over the time the sample covers."""
        return self.top_ups / self.covers_seconds


@dataclass(frozen=True, slots=True)
class Series:
    """The history of one meeting, oldest first. Times without a sweep have no samples."""

    sid: str
    step_seconds: int
    begin_ms: int  # the window begins here, whether there are samples or not
    end_ms: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Spark:
    """The last minutes of one meeting, a value per 10 s, oldest first; None without a sweep."""

    sid: str
    claims_per_second: tuple[float | None, ...]
    top_ups_per_second: tuple[float | None, ...]


def payload(
    customer_id: str, email: str | None = None, metadata: dict[str, Any] | None = None
) -> bytes:
    """Return what the stream carries of a claim, for the ledger."""
    if metadata:
        return msgspec.msgpack.encode((customer_id, email, metadata))
    return msgspec.msgpack.encode((customer_id, email) if email else (customer_id,))


BATCH_LIMIT = 64  # customers per script call; keeps each call well under a millisecond
