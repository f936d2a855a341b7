"""The small pictures of the page, as geometry for the templates to draw as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pool.api.ops.words import rate_words

SPARK_WIDTH, SPARK_HEIGHT = 96, 22
_PAD = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A pool's level against its target, in percent of the bar's length."""

    level_percent: float
    target_percent: float
    words: str


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A line of recent values; `lines` and `areas` are SVG path data, one per stretch
    without a gap."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    words: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def bar(level: int, target: int) -> Bar:
    """The bar is as long as the target, or as the level where that is higher."""
    length = max(level, target, 1)
    return Bar(
        round(100 * level / length, 1),
        round(100 * target / length, 1),
        f"{level:,} fresh of {target:,} wanted",
    )


def sparkline(values: Sequence[float | None], what: str) -> Sparkline:
    """A sparkline from the oldest to the newest value; None is a gap and stays one."""
    known = [value for value in values if value is not None]
    if not known:
        return Sparkline((), (), f"{what}: no history yet")
    top = max(known) or 1.0
    step = (SPARK_WIDTH - 2 * _PAD) / max(1, len(values) - 1)
    base = SPARK_HEIGHT - _PAD
    stretches: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            stretches.append([])
            continue
        height = (SPARK_HEIGHT - 2 * _PAD) * value / top
        stretches[-1].append((round(_PAD + index * step, 1), round(base - height, 1)))
    lines, areas = [], []
    for points in filter(None, stretches):
        if len(points) == 1:  # a lone value still shows, as a dot's width
            points = [points[0], (points[0][0] + 1, points[0][1])]
        line = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        lines.append(line)
        areas.append(f"{line}L{points[-1][0]:g} {base:g}L{points[0][0]:g} {base:g}Z")
    return Sparkline(tuple(lines), tuple(areas), f"{what}: at most {rate_words(max(known))}")
