"""Put samples of the past together into stretches of equal length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pool.model.outcomes import TURNED_AWAY
from pool.store.records import Series
from pool.store.tallies import Counted

_FINEST_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Bucket:
    """The values of one stretch of the past."""

    begin_seconds: float  # since 1970
    end_seconds: float
    level: int  # at its end
    lowest: int
    target: int
    claims: float  # counts; a sample that covers two stretches is divided between them
    top_ups: float
    bookings: float
    seen_seconds: float  # seconds of the stretch that are known
    counts: dict[str, int] = field(default_factory=dict)  # by name: pool.model.outcomes

    def rate(self, count: float) -> float:
        """Return a count of this bucket per known second."""
        return count / self.seen_seconds

    @property
    def turned_away(self) -> int:
        """Return how many visitors got no link."""
        return sum(self.counts.get(name, 0) for name in TURNED_AWAY)

    @property
    def reused(self) -> int:
        """Return how many visitors got their link again."""
        return self.counts.get("reused", 0)


def buckets(
    series: Series, seconds: int, *, whole: bool = False, counted: Sequence[Counted] = ()
) -> list[Bucket | None]:
    """Return the series in stretches of `seconds`, oldest first, None where no worker looked.

    The sample after a gap has all counts since the gap began. With `whole`, all of them count
    in that sample's slot; otherwise only the slot's share of the time, so that a rate drawn from
    them shows no peak that never was. A sample is taken as its slot begins, and counts what
    happened before.
    """
    begin = series.begin_ms // 1000 // seconds * seconds
    found: list[Bucket | None] = [None] * math.ceil((series.end_ms / 1000 - begin) / seconds)
    lag = min(series.step_seconds, _FINEST_SECONDS)
    for sample in series.samples:
        end = sample.at_ms / 1000 + lag
        start = max(
            begin, end - (series.step_seconds if sample.after_gap else sample.covers_seconds)
        )
        if end <= start:
            continue
        share = 1.0 if whole and sample.after_gap else (end - start) / sample.covers_seconds
        first, last = int((start - begin) // seconds), int((end - 1e-6 - begin) // seconds)
        for index in range(first, min(last + 1, len(found))):
            left = begin + index * seconds
            overlap = min(end, left + seconds) - max(start, left)
            part = share * overlap / (end - start)
            before = found[index] or _unknown(left, seconds, sample.lowest)
            found[index] = Bucket(
                left,
                left + seconds,
                level=sample.level,
                lowest=min(sample.lowest, before.lowest),
                target=sample.target,
                claims=before.claims + sample.claims * part,
                top_ups=before.top_ups + sample.top_ups * part,
                bookings=before.bookings + sample.bookings * part,
                seen_seconds=before.seen_seconds + overlap,
            )
    for each in counted:
        # Like samples: of the time before the slot began, all at its end.
        index = int((each.at_ms / 1000 + lag - 1e-6 - begin) // seconds)
        bucket = found[index] if 0 <= index < len(found) else None
        if bucket is not None:
            for name, count in each.outcomes.counts.items():
                bucket.counts[name] = bucket.counts.get(name, 0) + count
    return found


def _unknown(begin: float, seconds: int, lowest: int) -> Bucket:
    return Bucket(begin, begin + seconds, 0, lowest, 0, 0.0, 0.0, 0.0, 0.0)
