"""Measure top-up against a provider of whose calls a share fails, or is refused, at random."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.measures.base import Bench
from bench.measures.topup import topping_up
from bench.rows import TIMES, Goal, Row

LIMIT = 40.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of provider: a knob of the sandbox, and how much of what is possible we want."""

    name: str
    title: str
    flags: tuple[str, ...]
    possible: float
    goal: float


KINDS = (
    Kind("steady", "none fails", (), 1.0, 0.95),
    Kind("failing", "20 % random 500s", ("--p-500", "0.2"), 0.8, 0.93),
    Kind("refusing", "30 % random 429s without Retry-After", ("--p-429", "0.3"), 0.7, 0.75),
)


def measure(bench: Bench) -> list[Row]:
    """Measure the links made, against those that the limit and chance let through."""
    made: dict[str, list[float]] = {kind.name: [] for kind in KINDS}
    asked: dict[str, list[float]] = {kind.name: [] for kind in KINDS}
    for run in range(bench.options.runs):
        for kind in KINDS:
            links, calls = _run(bench, kind)
            made[kind.name].append(links / (LIMIT * kind.possible))
            asked[kind.name].append(calls / LIMIT)
            bench.say(
                f"run {run + 1}, {kind.title}: {made[kind.name][-1]:.2f} of what could get "
                f"through, {asked[kind.name][-1]:.2f} of the limit asked for"
            )
    rows = []
    for kind in KINDS:
        title = f"{LIMIT:g}/s allowed, latency 150 ms, {kind.title}"
        values = tuple(made[kind.name])
        rows += [
            Row(
                f"shared_limit.{kind.name}",
                f"{title}: links / what could get through",
                TIMES,
                values,
                Goal(at_least=kind.goal),
            ),
            Row(
                f"shared_limit.{kind.name}.asked",
                f"{title}: calls / the limit",
                TIMES,
                tuple(asked[kind.name]),
            ),
        ]
    return rows


def _run(bench: Bench, kind: Kind) -> tuple[float, float]:
    """Return the links made and the calls answered per second, once the pace was found."""
    sizes = bench.options.sizes
    with topping_up(LIMIT, *kind.flags) as sandbox:
        sandbox.follow(4 * sizes.top_up_warm_seconds)
        since = time.time()
        sandbox.follow(sizes.top_up_seconds)
        seconds = time.time() - since
        calls = [call for call in sandbox.calls if call.at >= since]
        links = sum(call.status.startswith("2") for call in calls)
        return links / seconds, len(calls) / seconds
