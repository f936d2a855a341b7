"""Measure a site with a key that claims at a steady rate while strangers without one attack.

The strangers' own process is nice: they would have a machine of their own. First they all come from
one address, whose limits they share, since this machine is no trusted proxy here. Then they come
from so many addresses that none has to wait for its turn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench.contestants.linkpool import Linkpool
from bench.loads.arrivals import Arrived, arrivals
from bench.loads.beside import beside
from bench.measures.base import Bench
from bench.rows import Goal, Row, ratio
from bench.stage import Stage

CONNECTIONS = 64
WEBHOOK_SECRET = "of the benchmark"  # noqa: S105 - nobody signs with it
RATE = 400.0  # claims per second: a busy site, far below the peak
SECONDS, QUICK_SECONDS = 30.0, 3.0
_BEFORE_SECONDS = 1.0  # before the measure, while the strangers are already attacking


def measure(bench: Bench) -> list[Row]:
    """Measure the p99 of claims in calm and under attack, in turn, and their ratio."""
    seconds = QUICK_SECONDS if bench.options.quick else SECONDS
    calm: list[Arrived] = []
    attacked: list[Arrived] = []
    everywhere: list[Arrived] = []
    with Stage(TRUSTED_PROXIES="192.0.2.1", NEETOCAL_WEBHOOK_SECRET=WEBHOOK_SECRET) as stage:
        ours = Linkpool(stage, 1, bench.options.sizes.links_per_second)
        try:
            ours.start()
            for run in range(bench.options.runs):
                ours.refill(0)  # a second's worth at the peak is plenty here
                calm.append(arrivals(ours.request, rate=RATE, seconds=seconds))
                bench.say(f"run {run + 1}: p99 {calm[-1].p99_ms:.2f} ms")
                for under, options in ((attacked, ()), (everywhere, ("--everywhere",))):
                    lasts = seconds + 2 * _BEFORE_SECONDS
                    with _strangers(ours.port, ours.sid, lasts, *options) as got:
                        under.append(arrivals(ours.request, rate=RATE, seconds=seconds))
                    bench.say(
                        f"attacked from {'many addresses' if options else 'one address'}: p99 "
                        f"{under[-1].p99_ms:.2f} ms; {_summary(got)}"
                    )
        finally:
            ours.stop()
    return [
        _against_calm("ratio.p99.attacked.calm", "of one address", attacked, calm),
        _against_calm("ratio.p99.everywhere.calm", "of ever new addresses", everywhere, calm),
        Row("p99.calm", "calm: p99", "ms", tuple(each.p99_ms for each in calm)),
        Row("p99.attacked", "attacked: p99", "ms", tuple(each.p99_ms for each in attacked)),
        Row("p50.calm", "calm: p50", "ms", tuple(each.p50_ms for each in calm)),
        Row("p50.attacked", "attacked: p50", "ms", tuple(each.p50_ms for each in attacked)),
        Row(
            "p99.everywhere",
            "attacked from many addresses: p99",
            "ms",
            tuple(each.p99_ms for each in everywhere),
        ),
        Row(
            "p50.everywhere",
            "attacked from many addresses: p50",
            "ms",
            tuple(each.p50_ms for each in everywhere),
        ),
    ]


def _against_calm(name: str, whose: str, attacked: list[Arrived], calm: list[Arrived]) -> Row:
    bad = sum(each.bad + each.unanswered for each in attacked)
    return ratio(
        name,
        f"p99 of claims while {CONNECTIONS} strangers {whose} do their worst, against calm",
        [each.p99_ms for each in attacked],
        [each.p99_ms for each in calm],
        Goal(at_most=3.0),
        note=f"{bad} claims were not served" if bad else "",
    )


@contextmanager
def _strangers(
    port: int, sid: str, seconds: float, *options: str
) -> Iterator[dict[str, Counter[str]]]:
    """Run the strangers for this long. Yield a list that holds their answers at the end."""
    options = ("--port", str(port), "--meeting", sid, "--connections", str(CONNECTIONS), *options)
    got: dict[str, Counter[str]] = {}
    with beside("bench.loads.hostile", seconds, *options) as answers:
        time.sleep(_BEFORE_SECONDS)
        yield got
    got.update({name: Counter(counts) for name, counts in answers.items()})


def _summary(got: dict[str, Counter[str]]) -> str:
    return "; ".join(
        f"{name}: {', '.join(f'{status} x {count:,}' for status, count in sorted(counts.items()))}"
        for name, counts in got.items()
    )
