"""Slow down an unauthenticated address that asks often.

Its requests wait for their turn before any work is done for them, so that the address takes a
few hundredths of one core however many connections it opens. They are not refused, because
legitimate callers may share the address.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

PER_SECOND = 20.0
AT_ONCE = 40.0  # opening the page takes four requests
LONGEST_SECONDS = 10.0  # bounded, so that waiting connections end and free what they hold
_KEPT = 50_000  # addresses, before those without recent requests are dropped


class Pace:
    """The turns of all callers."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        per_second: float = PER_SECOND,
        at_once: float = AT_ONCE,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._clock = clock
        self._interval = 1 / per_second
        self._burst_seconds = at_once / per_second
        self._longest_seconds = longest_seconds
        self._turn_at: dict[Hashable, float] = {}  # the time of each caller's last turn
        self._tidy_at = _KEPT

    def turn(self, who: Hashable) -> float:
        """Take the caller's next turn. Return the seconds until then."""
        now = self._clock()
        if len(self._turn_at) >= self._tidy_at:
            idle_since = now - self._burst_seconds
            self._turn_at = {each: at for each, at in self._turn_at.items() if at > idle_since}
            self._tidy_at = max(_KEPT, 2 * len(self._turn_at))
        last = max(self._turn_at.get(who, 0.0), now - self._burst_seconds)
        turn_at = self._turn_at[who] = min(last + self._interval, now + self._longest_seconds)
        return max(0.0, turn_at - now)

    def give_back(self, who: Hashable) -> None:
        """Take back the last turn of a caller that has authenticated after all."""
        if who in self._turn_at:
            self._turn_at[who] -= self._interval
