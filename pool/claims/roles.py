"""Describe whom the desk works with: one makes links on demand, another listens."""

from __future__ import annotations

from typing import Protocol

from pool.model.links import Claim
from pool.model.meetings import Meeting


class OnDemand(Protocol):
    """Makes a link when the pool is empty."""

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        """Return a claim, and True if its link was made now. Raise PoolEmpty and other errors."""


class Listener(Protocol):
    """Receives what the desk observes. Its methods return at once and never raise."""

    def claimed(self, meeting: Meeting) -> None:
        """Note that a new link was bound, so that there is something to record."""

    def low(self, meeting: Meeting) -> None:
        """Note that the pool is below its target."""

    def fenced(self, sid: str) -> None:
        """Note that the fence has fallen."""

    def batch(self, size: int) -> None:
        """Note that a script call served `size` customers."""

    def outcome(self, sid: str, outcome: str, count: int) -> None:
        """Count claims by how they ended, in the words of linkpool_claims_total."""
