"""Draw charts, as geometry that the template writes as SVG.

A chart is 1000 units wide, stretched to the available width, and 100 units high. Texts are
placed in percent, so that they are never stretched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pool.api.ops.charts.buckets import Bucket
from pool.api.ops.charts.parts import Chart, Line, Mark, Spot, Tick, Under, Value
from pool.api.ops.charts.windows import Window
from pool.model.incidents import Incident
from pool.operations.incident_words import incident_words
from pool.store.records import Series

WIDTH, HEIGHT = 1000, 100
_THINNEST = 1.5  # of a mark, in units of WIDTH


class Drawing:
    """The axes and marks that the charts of one window share."""

    def __init__(
        self,
        found: Sequence[Bucket | None],
        series: Series,
        window: Window,
        incidents: Sequence[Incident] = (),
        unders: Sequence[Under] = (),
    ) -> None:
        self._found = found
        self._unders = [(each, {b.begin_seconds: b for b in each.found}) for each in unders]
        self._window = window
        self._begin = series.begin_ms / 1000
        self._end = series.end_ms / 1000
        self._patience = 2 * max(series.step_seconds, window.bucket_seconds)
        self._across = tuple(self._ticks())
        self._marks = tuple(self._mark(each) for each in incidents)

    def chart(
        self,
        title: str,
        unit: str,
        top: float,
        quantities: Iterable[tuple[str, str, Value]],
        words: str,
        *,
        now: Sequence[int] = (),
        dips: bool = False,
    ) -> Chart:
        """Return a chart of these quantities; the first also has its earlier lines.

        `top` is the greatest value of the present; the axis holds the earlier ones as well.
        """
        quantities = tuple(quantities)
        main = quantities[0][2]
        top = max(top, *(main(each) for under, _ in self._unders for each in under.found), 0.0)
        step = _nice_step(top)
        full = max(step, math.ceil(top / step - 1e-9) * step)
        up = tuple(
            Tick(round(HEIGHT * (1 - index * step / full), 2), _axis_words(index * step))
            for index in range(1, round(full / step) + 1)
        )
        lines = tuple(
            self._line(kind, label, value, full, first=index == 0, now=now[index:index + 1],
                       dips=dips and index == 0)
            for index, (kind, label, value) in enumerate(quantities)
        )  # fmt: skip
        spots = tuple(self._spots(quantities, unit))
        under = tuple(self._under_line(each, main, full) for each, _ in self._unders)
        return Chart(title, unit, words, lines, up, self._across, spots, self._marks, under)

    def _x(self, seconds: float) -> float:
        share = (seconds - self._begin) / (self._end - self._begin)
        return round(WIDTH * min(1.0, max(0.0, share)), 1)

    def _line(
        self,
        kind: str,
        label: str,
        value: Value,
        full: float,
        *,
        first: bool,
        now: Sequence[int],
        dips: bool,
    ) -> Line:
        def height(number: float) -> float:
            return round(HEIGHT * (1 - min(number, full) / full), 2)

        stretches: list[list[tuple[float, float]]] = [[]]
        before: Bucket | None = None
        for bucket in self._found:
            if bucket is None:
                stretches.append([])
            else:
                x = self._x(bucket.end_seconds)
                if dips and bucket.lowest < min(bucket.level, before.level if before else 0):
                    middle = self._x((bucket.begin_seconds + bucket.end_seconds) / 2)
                    stretches[-1].append((middle, height(bucket.lowest)))
                stretches[-1].append((x, height(value(bucket))))
            before = bucket
        self._reach_now(stretches, [height(each) for each in now])
        paths, areas = [], []
        for points in filter(None, stretches):
            # A stretch begins where its first bucket does.
            begin = max(0.0, points[0][0] - WIDTH * self._window.bucket_seconds / self._seconds)
            whole = [(round(begin, 1), points[0][1]), *points]
            path = "M" + "L".join(f"{x:g} {y:g}" for x, y in whole)
            paths.append(path)
            if first:
                areas.append(f"{path}L{whole[-1][0]:g} {HEIGHT}L{whole[0][0]:g} {HEIGHT}Z")
        return Line(kind, label, tuple(paths), tuple(areas))

    def _under_line(self, under: Under, value: Value, full: float) -> Line:
        """Return an earlier line: level within each stretch, since its steps may be coarse."""
        paths: list[str] = []
        end: float | None = None
        for bucket in under.found:
            left, right = self._x(bucket.begin_seconds), self._x(bucket.end_seconds)
            y = round(HEIGHT * (1 - min(value(bucket), full) / full), 2)
            if end == bucket.begin_seconds:
                paths[-1] += f"L{right:g} {y:g}"
            else:
                paths.append(f"M{left:g} {y:g}L{right:g} {y:g}")
            end = bucket.end_seconds
        return Line(under.kind, under.label, tuple(paths))

    def _reach_now(self, stretches: list[list[tuple[float, float]]], now: Sequence[float]) -> None:
        """Draw the last stretch up to the present, unless nobody has looked for long."""
        last = next((each for each in reversed(self._found) if each is not None), None)
        if last is None or self._end - last.end_seconds > self._patience:
            return
        points = next(points for points in reversed(stretches) if points)
        if now:
            points.append((float(WIDTH), now[0]))
        elif points[-1][0] < WIDTH:
            points.append((float(WIDTH), points[-1][1]))

    @property
    def _seconds(self) -> float:
        return self._end - self._begin

    def _ticks(self) -> Iterable[Tick]:
        every = self._window.tick_seconds
        first = math.ceil(self._begin / every)
        for number in range(first, math.floor(self._end / every) + 1):
            percent = round(self._x(number * every) / WIDTH * 100, 2)
            label = datetime.fromtimestamp(number * every, UTC).strftime(self._window.tick_format)
            anchor = "start" if percent < 3 else "end" if percent > 97 else "middle"
            yield Tick(percent, label, anchor, number % 2 == 1, number * every)

    def _mark(self, incident: Incident) -> Mark:
        begin = incident.began_at.timestamp()
        end = incident.ended_at.timestamp() if incident.ended_at else self._end
        left = self._x(begin)
        width = max(_THINNEST, round(self._x(end) - left, 1))
        return Mark(min(left, WIDTH - _THINNEST), width, incident.what, int(begin),
                    incident_words(incident))  # fmt: skip

    def _spots(self, quantities: Sequence[tuple[str, str, Value]], unit: str) -> Iterable[Spot]:
        said = f" ({unit})" if unit else ""
        present = {each.begin_seconds: each for each in self._found if each is not None}
        earlier = {begin for _, by_begin in self._unders for begin in by_begin}
        seconds = self._window.bucket_seconds
        for begin in sorted(present.keys() | earlier):
            bucket = present.get(begin)
            left, right = self._x(begin), self._x(begin + seconds)
            values = (
                [f"{label} {_value_words(value(bucket))}" for _, label, value in quantities]
                if bucket
                else ["no data"]
            )
            for under, by_begin in self._unders:
                if begin in by_begin:
                    before = quantities[0][2](by_begin[begin])
                    values.append(f"{under.label} {_value_words(before)}")
            width = round(right - left, 1)
            yield Spot(left, width, int(begin), f"{', '.join(values)}{said}")


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
