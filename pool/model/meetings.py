"""Define a meeting's settings, and compute its target and runway."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pool.model.pools import pool_names, pool_of

AfterBooking = Literal["same", "new"]
OnEmpty = Literal["direct", "fail"]
TargetMode = Literal["fixed", "auto"]

DAY_SECONDS = 86_400
# A claim requests a top-up within a second, and the provider answers soon after; the sweep is
# the backstop. The stock must cover this time in addition to cover_seconds.
LEAD_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Meeting:
    """One scheduling link at the provider and the settings of its pool."""

    sid: str
    workspace: str = "default"
    min_fresh: int = 50  # minimum of links kept ready
    max_fresh: int = 2_000  # maximum of links kept ready
    cover_seconds: int = 300  # the stock should last this long at the present claim rate
    claim_ttl_seconds: int = 30 * DAY_SECONDS  # a claim that nobody books lapses after this
    max_fresh_age_seconds: int = 30 * DAY_SECONDS  # fresh links older than this are retired
    after_booking: AfterBooking = "same"  # what a customer who booked gets on the next claim
    on_empty: OnEmpty = "direct"  # make a link on the spot, or answer pool-empty at once
    fallback_url: str | None = None  # offered to visitors when there is no link for them
    paused: bool = False  # no top-up, no new claims
    pause_reason: str = ""
    target_mode: TargetMode = "fixed"  # by the present claim rate, or by the forecast
    match_email: bool = True  # whether a booking may be matched to a claim by its e-mail alone
    reserve: int = 0  # fresh links that claims with a public key leave to all others
    closed_reason: str = ""  # why the provider takes no bookings for it now; empty if it does
    shards: int = 1  # pools over which its customers are spread, each on a master of its own

    @property
    def is_stopped(self) -> bool:
        """Return True if the pool hands out no links and gets none.

        It is then paused by an operator, or the meeting is closed at the provider.
        """
        return self.paused or bool(self.closed_reason)

    @property
    def pools(self) -> tuple[str, ...]:
        """Return the names of the meeting's pools."""
        return pool_names(self.sid, self.shards)

    def pool_of(self, customer_name: str) -> str:
        """Return the name of the pool that serves a customer."""
        return pool_of(self.sid, self.shards, customer_name)

    def target(self, claims_per_second: float) -> int:
        """Return how many fresh links the pool should hold at this claim rate."""
        return max(self.min_fresh, min(self.wanted(claims_per_second), self.max_fresh))

    def wanted(self, claims_per_second: float) -> int:
        """Return how many links this claim rate asks for, before min_fresh and max_fresh apply."""
        return math.ceil(claims_per_second * (self.cover_seconds + LEAD_SECONDS))

    def is_capped(self, claims_per_second: float) -> bool:
        """Return True if this claim rate asks for more links than the pool may hold."""
        return self.wanted(claims_per_second) > self.max_fresh


def runway_seconds(fresh: int, claims_per_second: float) -> float | None:
    """Return the seconds until `fresh` links are gone at this rate, None without claims."""
    if claims_per_second < 1e-6:
        return None
    return fresh / claims_per_second
