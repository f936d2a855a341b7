"""Compute the charts of a meeting's past, and the table that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pool.api.ops.charts.buckets import Bucket, buckets
from pool.api.ops.charts.drawing import Drawing
from pool.api.ops.charts.earlier import Before
from pool.api.ops.charts.parts import Chart, Under, Value
from pool.api.ops.charts.windows import HOUR, MINUTE, Window
from pool.model.incidents import Incident
from pool.operations.words import count_words, times_words
from pool.store.records import Series
from pool.store.tallies import Counted


def charts(
    series: Series,
    window: Window,
    *,
    counted: Sequence[Counted] = (),
    incidents: Sequence[Incident] = (),
    now: tuple[int, int] | None = None,
    levels: bool = True,
    before: Sequence[Before] = (),
) -> tuple[Chart, ...]:
    """Return the charts: level and target; what visitors got; top-ups; bookings.

    `now` is the present level and target, as the page's header shows them. Without `levels`,
    the series is that of all meetings, whose levels mean nothing. `before` are earlier stretches
    whose lines lie under the present ones. The result is empty while nothing is known.
    """
    found = buckets(series, window.bucket_seconds, counted=counted)
    known = [each for each in found if each is not None]
    if not known:
        return ()
    draw = Drawing(found, series, window, incidents, [_under(b, series, window) for b in before])
    drawn = [_levels(draw, known, now)] if levels else []
    busiest = max(
        max(each.rate(each.claims), each.rate(each.turned_away), each.rate(each.reused))
        for each in known
    )
    seconds, unit = _rate_unit(busiest)
    reused, away = (sum(getattr(b, name) for b in known) for name in ("reused", "turned_away"))
    lines: list[tuple[str, str, Value]] = [
        ("claims", "handed out", lambda each: each.rate(each.claims) * seconds),
        ("away", "turned away", lambda each: each.rate(each.turned_away) * seconds),
    ]
    if reused:
        lines.insert(1, ("reused", "same link again", lambda b: b.rate(b.reused) * seconds))
    drawn.append(
        draw.chart(
            "What visitors got",
            unit,
            busiest * seconds,
            lines,
            f"{_sum_words(series, 'claims', 'link')} handed out"
            f"{f', the same link again {times_words(reused)}' if reused else ''}, "
            f"{count_words(away, 'visitor')} turned away.",
        )
    )
    made = max(each.rate(each.top_ups) for each in known)
    made_seconds, made_unit = _rate_unit(made)
    drawn.append(
        draw.chart(
            "Top-ups",
            made_unit,
            made * made_seconds,
            (("top-ups", "new links", lambda each: each.rate(each.top_ups) * made_seconds),),
            f"{_sum_words(series, 'top_ups', 'new link')} in all.",
        )
    )
    span = window.bucket_seconds

    def booked(each: Bucket) -> float:
        # If only a part of a stretch is known, like the last one, the chart extrapolates to the
        # whole.
        return each.rate(each.bookings) * span if each.seen_seconds else 0.0

    drawn.append(
        draw.chart(
            "Bookings",
            f"per {_span_words(span)}",
            max(booked(each) for each in known),
            (("bookings", "bookings", booked),),
            f"{_sum_words(series, 'bookings', 'booking')} in all.",
        )
    )
    return tuple(drawn)


def _under(before: Before, series: Series, window: Window) -> Under:
    """Return what an earlier stretch adds to each chart, as far as the charts reach."""
    found = buckets(before.series, window.bucket_seconds)
    begin, end = series.begin_ms / 1000, series.end_ms / 1000
    known = (each for each in found if each is not None and each.seen_seconds)
    shown = tuple(each for each in known if each.end_seconds > begin and each.begin_seconds < end)
    label = before.earlier.label
    if window.bucket_seconds < before.series.step_seconds == HOUR:
        label = f"{label}, by the hour"  # all that is kept of that time
    return Under(before.earlier.name, label, shown)


def _levels(draw: Drawing, known: Sequence[Bucket], now: tuple[int, int] | None) -> Chart:
    top = max(max(each.level, each.target) for each in known)
    level, target = now or (known[-1].level, known[-1].target)
    return draw.chart(
        "Fresh links",
        "",
        max(top, *(now or (0,))),
        (("level", "level", _level), ("target", "target", _target)),
        f"Now {level:,} of {target:,} wanted; lowest {min(each.lowest for each in known):,}.",
        now=now or (),
        dips=True,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of the past in the table beside the charts."""

    begin: datetime
    bucket: Bucket | None  # None: no worker looked


def rows(series: Series, window: Window, counted: Sequence[Counted] = ()) -> list[Row]:
    """Return the table beside the charts, the newest first."""
    seconds = window.row_seconds
    begin = series.begin_ms // 1000 // seconds * seconds
    return [
        Row(datetime.fromtimestamp(begin + index * seconds, UTC), bucket)
        for index, bucket in enumerate(buckets(series, seconds, whole=True, counted=counted))
    ][::-1]


def _level(bucket: Bucket) -> float:
    return bucket.level


def _target(bucket: Bucket) -> float:
    return bucket.target


def _rate_unit(busiest_per_second: float) -> tuple[int, str]:
    """Return the shortest unit in which the busiest moment has one event, and its name."""
    for seconds, word in ((1, "per second"), (MINUTE, "per minute")):
        if busiest_per_second * seconds >= 1:
            return seconds, word
    return HOUR, "per hour"


def _span_words(seconds: int) -> str:
    if seconds < MINUTE:
        return f"{seconds} s"
    return f"{seconds // MINUTE} min" if seconds < HOUR else "hour"


def _sum_words(series: Series, quantity: str, one: str) -> str:
    return count_words(sum(getattr(sample, quantity) for sample in series.samples), one)
