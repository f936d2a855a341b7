"""Name the earlier stretches of time that charts show behind the present one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pool.api.ops.charts.windows import DAY, Window
from pool.store.chunks import looks_kept_seconds
from pool.store.records import Series, Span


@dataclass(frozen=True, slots=True)
class Earlier:
    """A stretch of time as long as the window, some days before it."""

    name: str  # as in the address, and the class of its lines in the style sheet
    label: str
    ago_seconds: int

    def spans(self, window: Window) -> list[Span]:
        """Return the histories that reach back far enough, the finest first.

        There is none for a window that only the ledger has.
        """
        if window.span is None:
            return []
        reach = window.seconds + self.ago_seconds
        return [span for span in (Span.DAY, Span.FIVE_WEEKS) if looks_kept_seconds(span) >= reach]


@dataclass(frozen=True, slots=True)
class Before:
    """The history of an earlier stretch, moved to the times of the window."""

    earlier: Earlier
    series: Series


EARLIER = (Earlier("yesterday", "yesterday", DAY), Earlier("last-week", "last week", 7 * DAY))


def chosen(names: str) -> tuple[Earlier, ...]:
    """Return the stretches that an address names, separated by commas; others are ignored."""
    wanted = names.split(",")
    return tuple(each for each in EARLIER if each.name in wanted)


def names_of(several: Iterable[Earlier]) -> str:
    """Return the names as an address has them."""
    return ",".join(each.name for each in several)


def moved(series: Series, seconds: int) -> Series:
    """Return the series with all its times later by `seconds`, so that one axis holds both."""
    by_ms = 1000 * seconds
    return replace(
        series,
        begin_ms=series.begin_ms + by_ms,
        end_ms=series.end_ms + by_ms,
        samples=tuple(replace(each, at_ms=each.at_ms + by_ms) for each in series.samples),
    )


def same_reading(one: Sequence[Before], other: Sequence[Before]) -> bool:
    """Return True if both are of the same reading of the same stretches."""
    return len(one) == len(other) and all(
        mine.series is theirs.series for mine, theirs in zip(one, other, strict=True)
    )
