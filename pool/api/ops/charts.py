"""Compute the charts of a meeting's past, as geometry that the template draws as SVG.

A chart is 1000 units wide, stretched to the available width, and 100 units high. Texts are
placed in percent, so that they are never stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pool.operations.words import count_words
from pool.store.records import Series

WIDTH, HEIGHT = 1000, 100
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the past, and the steps in which charts and table show it."""

    name: str  # as in the address
    words: str
    bucket_seconds: int  # covered by one point of the line
    tick_seconds: int
    tick_format: str
    row_seconds: int  # covered by one row of the table


WINDOWS = (
    Window("hour", "the last hour", 30, 10 * _MINUTE, "%H:%M", 5 * _MINUTE),
    Window("day", "the last day", 10 * _MINUTE, 4 * _HOUR, "%H:%M", 2 * _HOUR),
    Window("week", "the last week", _HOUR, _DAY, "%a %-d", _DAY),
)


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
    seen_seconds: float  # how much of the stretch is known

    def rate(self, count: float) -> float:
        """Return a count of this bucket per known second."""
        return count / self.seen_seconds


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: its place, in percent of the axis or pixels, and its label."""

    at: float
    label: str
    anchor: str = "middle"
    minor: bool = False  # left out where there is little room


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity: SVG paths, one per stretch without a gap."""

    kind: str  # its class in the style sheet
    label: str
    paths: tuple[str, ...]
    areas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """The text shown when hovering over a stretch of the chart."""

    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `words` describes in a sentence what it shows."""

    title: str
    unit: str
    words: str
    lines: tuple[Line, ...]
    up: tuple[Tick, ...]  # at: units of HEIGHT from the top
    across: tuple[Tick, ...]  # at: percent from the left
    spots: tuple[Spot, ...]


def buckets(series: Series, seconds: int, *, whole: bool = False) -> list[Bucket | None]:
    """Return the series in stretches of `seconds`, oldest first, None where no worker looked.

    The sample after a gap has all counts since the gap began. With `whole`, all of them count
    in that sample's slot; otherwise only the slot's share of the time, so that a rate drawn from
    them shows no peak that never was.
    """
    begin = series.begin_ms // 1000 // seconds * seconds
    found: list[Bucket | None] = [None] * math.ceil((series.end_ms / 1000 - begin) / seconds)
    for sample in series.samples:
        end = sample.at_ms / 1000 + series.step_seconds
        start = max(
            begin, end - (series.step_seconds if sample.after_gap else sample.covers_seconds)
        )
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
    return found


def _unknown(begin: float, seconds: int, lowest: int) -> Bucket:
    return Bucket(begin, begin + seconds, 0, lowest, 0, 0.0, 0.0, 0.0, 0.0)


def charts(series: Series, window: Window) -> tuple[Chart, ...]:
    """Return three charts: level and target; claims and top-ups; bookings.

    The result is empty while nothing is known.
    """
    found = buckets(series, window.bucket_seconds)
    known = [each for each in found if each is not None]
    if not known:
        return ()
    draw = _Drawing(found, series, window)
    top = max(max(each.level, each.target) for each in known)
    busiest = max(max(each.rate(each.claims), each.rate(each.top_ups)) for each in known)
    unit_seconds, unit = _rate_unit(busiest)
    booked = max(each.bookings for each in known)
    per = f"per {_span_words(window.bucket_seconds)}"
    return (
        draw.chart(
            "Fresh links",
            "",
            top,
            (("level", "level", lambda each: each.level), ("target", "target", _target)),
            f"Now {known[-1].level:,} of {known[-1].target:,} wanted; "
            f"lowest {min(each.lowest for each in known):,}.",
        ),
        draw.chart(
            "Claims and top-ups",
            unit,
            busiest * unit_seconds,
            (
                ("claims", "claims", lambda each: each.rate(each.claims) * unit_seconds),
                ("top-ups", "top-ups", lambda each: each.rate(each.top_ups) * unit_seconds),
            ),
            f"{_sum_words(series, 'claims', 'claim')} and "
            f"{_sum_words(series, 'top_ups', 'new link')} in all.",
        ),
        draw.chart(
            "Bookings",
            per,
            booked,
            (("bookings", "bookings", lambda each: each.bookings),),
            f"{_sum_words(series, 'bookings', 'booking')} in all.",
        ),
    )


class _Drawing:
    """The axes that the charts of one window share."""

    def __init__(self, found: Sequence[Bucket | None], series: Series, window: Window) -> None:
        self._found = found
        self._window = window
        self._begin = series.begin_ms / 1000
        self._end = series.end_ms / 1000
        self._across = tuple(self._ticks())

    def chart(
        self,
        title: str,
        unit: str,
        top: float,
        quantities: Iterable[tuple[str, str, Callable[[Bucket], float]]],
        words: str,
    ) -> Chart:
        step = _nice_step(top)
        full = max(step, math.ceil(top / step - 1e-9) * step)
        up = tuple(
            Tick(round(HEIGHT * (1 - index * step / full), 2), _axis_words(index * step))
            for index in range(1, round(full / step) + 1)
        )
        quantities = tuple(quantities)
        lines = tuple(
            self._line(kind, label, value, full, area=index == 0)
            for index, (kind, label, value) in enumerate(quantities)
        )
        return Chart(
            title, unit, words, lines, up, self._across, tuple(self._spots(quantities, unit))
        )

    def _x(self, seconds: float) -> float:
        share = (seconds - self._begin) / (self._end - self._begin)
        return round(WIDTH * min(1.0, max(0.0, share)), 1)

    def _line(
        self, kind: str, label: str, value: Callable[[Bucket], float], full: float, *, area: bool
    ) -> Line:
        stretches: list[list[tuple[float, float]]] = [[]]
        for bucket in self._found:
            if bucket is None:
                stretches.append([])
                continue
            y = round(HEIGHT * (1 - value(bucket) / full), 2)
            stretches[-1].append((self._x(bucket.end_seconds), y))
        paths, areas = [], []
        for points in filter(None, stretches):
            # A stretch begins where its first bucket does.
            begin = max(0.0, points[0][0] - WIDTH * self._window.bucket_seconds / self._seconds)
            whole = [(round(begin, 1), points[0][1]), *points]
            path = "M" + "L".join(f"{x:g} {y:g}" for x, y in whole)
            paths.append(path)
            if area:
                areas.append(f"{path}L{whole[-1][0]:g} {HEIGHT}L{whole[0][0]:g} {HEIGHT}Z")
        return Line(kind, label, tuple(paths), tuple(areas))

    @property
    def _seconds(self) -> float:
        return self._end - self._begin

    def _ticks(self) -> Iterable[Tick]:
        every = self._window.tick_seconds
        first = math.ceil(self._begin / every)
        for number in range(first, math.floor(self._end / every) + 1):
            percent = round(self._x(number * every) / WIDTH * 100, 2)
            label = datetime.fromtimestamp(number * every, UTC).strftime(self._window.tick_format)
            if percent < 3:
                yield Tick(percent, label, "start", minor=number % 2 == 1)
            else:
                yield Tick(percent, label, "end" if percent > 97 else "middle", number % 2 == 1)

    def _spots(
        self, quantities: Sequence[tuple[str, str, Callable[[Bucket], float]]], unit: str
    ) -> Iterable[Spot]:
        said = f" ({unit})" if unit else ""
        for bucket in self._found:
            if bucket is None:
                continue
            left, right = self._x(bucket.begin_seconds), self._x(bucket.end_seconds)
            values = ", ".join(
                f"{label} {_value_words(value(bucket))}" for _, label, value in quantities
            )
            at = datetime.fromtimestamp(bucket.begin_seconds, UTC)
            yield Spot(left, round(right - left, 1), f"{at:%a %H:%M:%S} UTC: {values}{said}")


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of the past in the table beside the charts."""

    begin: datetime
    bucket: Bucket | None  # None: no worker looked


def rows(series: Series, window: Window) -> list[Row]:
    """Return the table beside the charts, the newest first."""
    seconds = window.row_seconds
    begin = series.begin_ms // 1000 // seconds * seconds
    return [
        Row(datetime.fromtimestamp(begin + index * seconds, UTC), bucket)
        for index, bucket in enumerate(buckets(series, seconds, whole=True))
    ][::-1]


def _target(bucket: Bucket) -> float:
    return bucket.target


def _rate_unit(busiest_per_second: float) -> tuple[int, str]:
    """Return the shortest unit in which the busiest moment has one event, and its name."""
    for seconds, word in ((1, "per second"), (_MINUTE, "per minute")):
        if busiest_per_second * seconds >= 1:
            return seconds, word
    return _HOUR, "per hour"


def _nice_step(top: float) -> float:
    """Return a round distance that gives an axis two to five marks."""
    if top <= 0:
        return 1.0
    rough = top / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return max(1.0, next(power * each for each in (1, 2, 5, 10) if power * each >= rough - 1e-12))


def _axis_words(value: float) -> str:
    return f"{value:,.0f}" if value < 10_000 else f"{value / 1000:,g} k"


def _value_words(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def _span_words(seconds: int) -> str:
    if seconds < _MINUTE:
        return f"{seconds} s"
    return f"{seconds // _MINUTE} min" if seconds < _HOUR else "hour"


def _sum_words(series: Series, quantity: str, one: str) -> str:
    return count_words(sum(getattr(sample, quantity) for sample in series.samples), one)
