"""Compute the bars and sparklines of the page, as geometry that templates draw as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pool.operations.words import rate_words

SPARK_WIDTH, SPARK_HEIGHT = 96, 22
_PAD = 2
_GROUND = SPARK_HEIGHT - _PAD

_Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bar:
    """A pool's level against its target, in percent of the bar's length."""

    level_percent: float
    target_percent: float
    words: str


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A line of recent values, as SVG path data for each stretch without a gap."""

    lines: tuple[str, ...]
    words: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def bar(level: int, target: int) -> Bar:
    """Return a bar that is as long as the target, or as the level if that is higher."""
    length = max(level, target, 1)
    return Bar(
        round(100 * level / length, 1),
        round(100 * target / length, 1),
        f"{level:,} fresh of {target:,} wanted",
    )


def sparkline(values: Sequence[float | None], what: str) -> Sparkline:
    """Return a sparkline from the oldest to the newest value. None is drawn as a gap."""
    known = [value for value in values if value is not None]
    if not known:
        return Sparkline((), f"{what}: no history yet")
    top = max(known) or 1.0
    step = (SPARK_WIDTH - 2 * _PAD) / max(1, len(values) - 1)
    stretches: list[list[_Point]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            stretches.append([])
            continue
        height = (SPARK_HEIGHT - 2 * _PAD) * value / top
        stretches[-1].append((round(_PAD + index * step, 1), round(_GROUND - height, 1)))
    lines = tuple(_line(points) for points in stretches if points)
    return Sparkline(lines, f"{what}: at most {rate_words(max(known))}")


def _line(points: list[_Point]) -> str:
    """Return the path data of a stretch. A level part needs only its ends."""
    if len(points) == 1:  # a single value is drawn as a dot
        points = [points[0], (points[0][0] + 1, points[0][1])]
    corners = [
        point
        for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False)
        if before is None or after is None or not before[1] == point[1] == after[1]
    ]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
