"""Hold the customers who wait at the desk, and the receipts they are given."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pool.model.links import Claim
from pool.model.meetings import Meeting


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A claim as it is answered. `outcome` is new, reused or direct, as in the metrics."""

    meeting: Meeting
    claim: Claim
    outcome: str

    @property
    def reused(self) -> bool:
        """Return True if the customer held this link before."""
        return self.outcome == "reused"


class Waiter(Protocol):
    """One request that waits for an answer; futures are waiters."""

    def done(self) -> bool:
        """Return True if nobody waits here any more."""

    def set_result(self, receipt: Receipt, /) -> None:
        """Take the claim; called at most once and only while not done. Must not raise."""

    def set_exception(self, error: BaseException, /) -> None:
        """Take the reason why there is no claim. Must not raise."""


class Waiting:
    """One customer in line, with all requests that wait for the answer."""

    __slots__ = ("answers", "customer_id", "name", "payload", "since")

    def __init__(self, name: str, customer_id: str, since: float) -> None:
        self.name = name
        self.customer_id = customer_id
        self.payload = b""  # stays empty while nobody here may have a new link
        self.since = since
        self.answers: list[Waiter] = []


class Line:
    """The waiting customers of one pool, in order of arrival."""

    __slots__ = ("calls", "pool", "queued", "sid", "waiting")

    def __init__(self, pool: str, sid: str) -> None:
        self.pool = pool
        self.sid = sid  # of its meeting
        self.waiting: dict[str, Waiting] = {}  # by the customer's name
        self.calls = 0
        self.queued = False  # for its turn to be sent
