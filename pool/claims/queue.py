"""The customers who wait at the desk, and what they are told."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pool.model.links import Claim
from pool.model.meetings import Meeting


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A claim as answered; `outcome` is new, reused or direct, as in the metrics."""

    meeting: Meeting
    claim: Claim
    outcome: str

    @property
    def reused(self) -> bool:
        """Whether the customer held this link before."""
        return self.outcome == "reused"


class Waiter(Protocol):
    """One request that waits for an answer; futures are waiters."""

    def done(self) -> bool:
        """Whether nobody waits here any more."""

    def set_result(self, receipt: Receipt, /) -> None:
        """Told the claim, at most once and only while not done. Must not raise."""

    def set_exception(self, error: BaseException, /) -> None:
        """Told instead why there is none. Must not raise."""


class Waiting:
    """One customer in line, however many requests wait for the answer."""

    __slots__ = ("answers", "customer_id", "name", "payload", "since")

    def __init__(self, name: str, customer_id: str, since: float) -> None:
        self.name = name
        self.customer_id = customer_id
        self.payload = b""  # stays empty while nobody here may have a new link
        self.since = since
        self.answers: list[Waiter] = []


class Line:
    """The customers of one meeting who wait, in order of arrival."""

    __slots__ = ("calls", "queued", "sid", "waiting")

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.waiting: dict[str, Waiting] = {}  # by the customer's name
        self.calls = 0
        self.queued = False  # for its turn to be sent
