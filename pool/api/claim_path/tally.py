"""Count on the claim path by plain addition, and flush to the metrics library twice a second.

At each count the library takes a lock, asks for the process id and writes to a shared file, which
is a tenth of a claim's time. The price is that the metrics lose up to half a second of counts when
a process is killed.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import structlog
from prometheus_client import Histogram

from pool.telemetry.metrics import Metrics

FLUSH_SECONDS = 0.5
FLUSHED_AT_ONCE = 1_000  # of a meeting's outcomes; what waits longer is counted meanwhile


class HistogramTally:
    """Observations of one histogram, since the last flush."""

    def __init__(self, histogram: Histogram) -> None:
        # Only through these two members can many observations be added at once.
        self._family: Any = histogram
        self._bounds = list(histogram._upper_bounds)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def above(self, bound: float) -> int:
        """Return how many observations since the last flush exceed `bound`, one of the bounds."""
        return sum(self._counts[bisect_right(self._bounds, bound) :])

    def flush(self) -> None:
        """Add the counts to the metrics library, and start from zero."""
        if not any(self._counts):
            return
        self._family._sum.inc(self._sum)
        for bucket, count in zip(self._family._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0


class Tally:
    """The counts of the claim path."""

    def __init__(
        self, metrics: Metrics, handed: Callable[[str, str, int], object] | None = None
    ) -> None:
        self._metrics = metrics
        self._handed = handed
        self._log = ClaimLog()
        self._failures: Counter[str] = Counter()
        self._claims: Counter[tuple[str, str]] = Counter()
        self._seconds = HistogramTally(metrics.claim_seconds)
        self._batch_sizes = HistogramTally(metrics.claim_batch_size)
        self.claim_seconds = self._seconds.observe
        self.batch_size = self._batch_sizes.observe

    def outcome(self, sid: str, outcome: str, count: int) -> None:
        """Count claims that ended with this outcome."""
        self._claims[sid, outcome] += count

    def failed_at(self, door: str) -> None:
        """Count one failed authentication at a door."""
        self._failures[door] += 1

    async def flush(self, most: int | None = FLUSHED_AT_ONCE) -> None:
        """Add what was counted since the last flush to the metrics, and to the log if needed.

        Of very many meetings' outcomes only the first `most` are handed over, the others later: ten
        thousand at a time would keep all claims waiting for a thirtieth of a second.
        """
        claims: Counter[tuple[str, str]] = Counter()
        if most is None or len(self._claims) <= most:
            claims, self._claims = self._claims, claims
        else:
            for labels in list(islice(self._claims, most)):
                claims[labels] = self._claims.pop(labels)
        for labels, count in claims.items():
            self._metrics.claims.labels(*labels).inc(count)
            if self._handed is not None:
                self._handed(*labels, count)
        failures, self._failures = self._failures, Counter()
        for door, count in failures.items():
            self._metrics.authentication_failures.labels(door).inc(count)
        self._log.note(claims, self._seconds.above(SLOW_SECONDS))
        self._seconds.flush()
        self._batch_sizes.flush()


log = structlog.get_logger()


EVERY_SECONDS = 10.0
SLOW_SECONDS = 0.25  # one of the histogram's bounds
_NO_LINK = frozenset({"empty", "recovering", "error"})  # paused is an operator's wish
_MEETINGS = 20  # meetings named each time, those with the most claims; the others are summed up


class ClaimLog:
    """A summary of refused and slow claims, logged at most every EVERY_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = -EVERY_SECONDS
        self._no_link: Counter[tuple[str, str]] = Counter()
        self._slow = 0

    def note(self, ended: Mapping[tuple[str, str], int], slow: int) -> None:
        """Add claims by meeting and outcome, and the number that took over SLOW_SECONDS."""
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
