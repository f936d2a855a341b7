"""Simulate a pool over a synthetic week with daily peaks, its target decided in one way or the
other.

`python -m tests.simulated_week` prints the table of docs/forecast.md, and with `--plot FILE`
draws one of its weeks.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pool.model.forecast import HOUR_SECONDS, NO_PAST, Outlook, outlook, target
from pool.model.meetings import Meeting

TICK_SECONDS = 30
PAST_DAYS = 14
DAYS = 7
DAY_SECONDS = 86_400
LINKS_PER_SECOND = 0.25  # what the provider allows this pool; every peak is above it
DAY_DEVIATION = 0.2  # days are busier or quieter than usual by so much
MEETING = Meeting("week", min_fresh=20, max_fresh=5_000, cover_seconds=1_800)

Shape = Callable[[float, int], float]  # hour of the day, day of the week → claims/s


def _bell(hour: float, at: float, width: float) -> float:
    return math.exp(-(((hour - at) / width) ** 2))


def office(hour: float, weekday: int) -> float:
    """Return the rate of an office: mornings and afternoons; nearly nothing at weekends."""
    return (0.02 + 0.5 * _bell(hour, 10, 1) + 0.4 * _bell(hour, 15, 1)) * (0.15, 1)[weekday < 5]


def evening(hour: float, _weekday: int) -> float:
    """Return the rate of an evening: one broad peak when people are at home."""
    return 0.03 + 0.5 * _bell(hour, 20, 1.2)


def on_the_hour(hour: float, _weekday: int) -> float:
    """Return a rate that goes from nearly nothing to a rush within a minute, at nine and at half
    past five.
    """
    return 0.02 + (1.2 if 9 <= hour < 9.4 else 0.0) + (0.9 if 17.5 <= hour < 17.9 else 0.0)


def flat(_hour: float, _weekday: int) -> float:
    """Return a rate without any peak: there is nothing to foresee."""
    return 0.15


SHAPES: dict[str, Shape] = {
    "office hours": office, "evenings": evening, "rush on the hour": on_the_hour, "flat": flat,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Week:
    """The outcome of one week."""

    mean_level: float
    empty_seconds: int
    refused: int  # claims that met an empty pool
    claims: int
    levels: tuple[int, ...]
    rates: tuple[float, ...]


def arrivals(shape: Shape, seed: int) -> tuple[list[int], list[float]]:
    """Return claims per tick of the past weeks and the one looked at, and the rate behind them."""
    chance = random.Random(seed)
    counts, rates = [], []
    for day in range(PAST_DAYS + DAYS):
        busy = max(0.1, chance.gauss(1.0, DAY_DEVIATION))
        for tick in range(DAY_SECONDS // TICK_SECONDS):
            rate = busy * shape(tick * TICK_SECONDS / HOUR_SECONDS, day % 7)
            rates.append(rate)
            counts.append(_poisson(chance, rate * TICK_SECONDS))
    return counts, rates


def _poisson(chance: random.Random, mean: float) -> int:
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count


def live(meeting: Meeting, counts: list[int], rates: list[float]) -> Week:
    """Run one week of claims against top-up, after the past that the forecast knows."""
    first = PAST_DAYS * DAY_SECONDS // TICK_SECONDS
    per_hour = HOUR_SECONDS // TICK_SECONDS
    past = deque(
        (start // per_hour, float(sum(counts[start : start + per_hour])))
        for start in range(0, first, per_hour)
    )
    level, rate, allowance = meeting.min_fresh, 0.0, 0.0
    seen: Outlook = NO_PAST
    levels: list[int] = []
    empty = refused = 0
    decay = math.exp(-TICK_SECONDS / 30)  # as the claim script's own count decays
    for tick in range(first, len(counts)):
        if tick % per_hour == 0:
            if tick > first:
                hour = tick // per_hour - 1
                past.append((hour, float(sum(counts[tick - per_hour : tick]))))
            if meeting.target_mode == "auto":
                seen = outlook(tick // per_hour, past)
        served = min(level, counts[tick])
        refused += counts[tick] - served
        level -= served
        rate = rate * decay + counts[tick] / TICK_SECONDS * (1 - decay)
        allowance += LINKS_PER_SECOND * TICK_SECONDS
        wanted = target(meeting, rate, (tick + 1) * TICK_SECONDS, seen) - level
        made = max(0, min(wanted, int(allowance)))
        allowance = min(allowance - made, LINKS_PER_SECOND * TICK_SECONDS)
        level += made
        empty += TICK_SECONDS if level == 0 or served < counts[tick] else 0
        levels.append(level)
    return Week(
        sum(levels) / len(levels),
        empty,
        refused,
        sum(counts[first:]),
        tuple(levels),
        tuple(rates[first:]),
    )


def compare(shape: Shape, seed: int) -> tuple[Week, Week]:
    """Compare the automatic target with the fixed one that gives the same mean stock."""
    counts, rates = arrivals(shape, seed)
    auto = live(replace(MEETING, target_mode="auto"), counts, rates)
    low, high = 0, math.ceil(2 * auto.mean_level)
    while high - low > high // 64:
        middle = (low + high) // 2
        if live(replace(MEETING, min_fresh=middle), counts, rates).mean_level < auto.mean_level:
            low = middle + 1
        else:
            high = middle
    return auto, live(replace(MEETING, min_fresh=high), counts, rates)


def main() -> None:
    """Print the table, and draw a week if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    out = sys.stdout.write
    out("| shape | mean stock, auto / fixed | minutes empty | claims refused of 100 |\n")
    out("|---|---:|---:|---:|\n")
    for name, shape in SHAPES.items():
        weeks = [compare(shape, seed) for seed in range(options.seeds)]
        cells = [
            " / ".join(f"{sum(value(w[side]) for w in weeks) / len(weeks):.{digits}f}"
                       for side in (0, 1))
            for value, digits in (
                (lambda w: w.mean_level, 0),
                (lambda w: w.empty_seconds / 60, 0),
                (lambda w: 100 * w.refused / w.claims, 1),
            )
        ]  # fmt: skip
        out(f"| {name} | {' | '.join(cells)} |\n")
    if options.plot:
        _plot(options.plot)


def _plot(path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    auto, fixed = compare(office, 0)
    hours = [tick * TICK_SECONDS / HOUR_SECONDS for tick in range(2 * DAY_SECONDS // TICK_SECONDS)]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 4.5), sharex=True)
    for week, name, colour in ((auto, "auto", "#1f6feb"), (fixed, "fixed", "#b35900")):
        above.plot(hours, week.levels[: len(hours)], label=f"target: {name}", color=colour)
    above.set_ylabel("fresh links")
    above.legend(loc="upper right")
    below.plot(hours, auto.rates[: len(hours)], color="#57606a", label="claims/s")
    below.axhline(LINKS_PER_SECOND, color="#57606a", linestyle=":", label="top-up at most")
    below.set_ylabel("per second")
    below.set_xlabel("hours")
    below.set_xticks(range(0, 49, 6))
    below.legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
