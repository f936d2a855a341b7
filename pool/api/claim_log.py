"""What the log says of claims: that some got no link, and that some were slow.

A claim that went well leaves no line, and no claim pays for one: this reads the counts that
the metrics take over twice a second, and speaks up at once, then every ten seconds.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger()

EVERY_SECONDS = 10.0
SLOW_SECONDS = 0.25  # one of the histogram's bounds
_NO_LINK = frozenset({"empty", "recovering", "error"})  # paused is what somebody wanted
_MEETINGS = 20  # named each time, those with the most claims; the others are counted


class ClaimLog:
    """Gathers what is worth a line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = -EVERY_SECONDS
        self._no_link: Counter[tuple[str, str]] = Counter()
        self._slow = 0

    def note(self, ended: Mapping[tuple[str, str], int], slow: int) -> None:
        """Takes how claims ended, by meeting and outcome, and how many took SLOW_SECONDS."""
        for (sid, outcome), count in ended.items():
            if outcome in _NO_LINK:
                self._no_link[sid, outcome] += count
        self._slow += slow
        if not (self._no_link or self._slow) or self._clock() - self._said_at < EVERY_SECONDS:
            return
        self._said_at = self._clock()
        self._say_no_link()
        if self._slow:
            log.warning("slow claims", claims=self._slow, over_seconds=SLOW_SECONDS)
        self._no_link.clear()
        self._slow = 0

    def _say_no_link(self) -> None:
        by_meeting: dict[str, Counter[str]] = defaultdict(Counter)
        for (sid, outcome), count in self._no_link.items():
            by_meeting[sid][outcome] = count
        worst = sorted(by_meeting.items(), key=lambda each: -each[1].total())
        for sid, outcomes in worst[:_MEETINGS]:
            log.warning("claims got no link", meeting=sid, **outcomes)
        if others := worst[_MEETINGS:]:
            claims = sum(outcomes.total() for _, outcomes in others)
            log.warning("claims got no link", other_meetings=len(others), claims=claims)
