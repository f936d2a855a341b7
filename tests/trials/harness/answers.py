"""Keep the answers to the outside: every answered claim and every accepted webhook."""

from __future__ import annotations

import threading
import time
from collections import Counter

import msgspec


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One answered claim. A million of them take about 300 MB."""

    at_seconds: float  # since 1970, when the answer was read
    server: int  # the port that answered
    meeting: str
    customer: str
    slug: str
    status: int  # 200 or 201
    reused: bool


class Tape:
    """Keeps answers as they come, from any number of threads and tasks."""

    def __init__(self) -> None:
        self.claims: list[Answered] = []
        self.webhooks: list[str] = []  # ids of the events that were answered 2xx
        self.refusals: Counter[str] = Counter()  # by what was answered instead
        self.slowest_seconds = 0.0
        self._lock = threading.Lock()

    def claimed(
        self, server: int, meeting: str, customer: str, slug: str, status: int, reused: bool
    ) -> None:
        """Note a claim that was answered with a link. It is one append: atomic, and cheap."""
        self.claims.append(Answered(time.time(), server, meeting, customer, slug, status, reused))

    def accepted(self, event_id: str) -> None:
        """Note a webhook that was answered 2xx."""
        self.webhooks.append(event_id)

    def refused(self, what: str) -> None:
        """Note a claim that got another answer, or none at all."""
        with self._lock:
            self.refusals[what] += 1

    def took(self, seconds: float) -> None:
        """Note the duration of an answer."""
        if seconds > self.slowest_seconds:
            self.slowest_seconds = seconds
