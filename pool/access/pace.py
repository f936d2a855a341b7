"""The pace of strangers: an address that proves nothing is served slowly once it asks often.

It waits for its turn before anything is done for it, so that however many connections it
opens, it takes a few hundredths of one core. It is not refused: behind it there may be others
who mean well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

PER_SECOND = 20.0
AT_ONCE = 40.0  # a person who opens the page asks for four things
LONGEST_SECONDS = 10.0  # so that connections end, and with them what they hold
_KEPT = 50_000  # addresses, before those who have not asked lately are let go


class Pace:
    """Says when a caller's turn is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn_at: dict[Hashable, float] = {}  # when each caller's last turn is, or was
        self._tidy_at = _KEPT

    def turn(self, who: Hashable) -> float:
        """Take the caller's next turn. Return the seconds until then."""
        now = self._clock()
        if len(self._turn_at) >= self._tidy_at:
            whole = now - AT_ONCE / PER_SECOND
            self._turn_at = {each: at for each, at in self._turn_at.items() if at > whole}
            self._tidy_at = max(_KEPT, 2 * len(self._turn_at))
        last = max(self._turn_at.get(who, 0.0), now - AT_ONCE / PER_SECOND)
        turn_at = self._turn_at[who] = min(last + 1 / PER_SECOND, now + LONGEST_SECONDS)
        return max(0.0, turn_at - now)

    def give_back(self, who: Hashable) -> None:
        """Take a turn back that turned out to be no stranger's."""
        if who in self._turn_at:
            self._turn_at[who] -= 1 / PER_SECOND
