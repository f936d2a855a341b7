"""Measure claims per second while Redis moves its keys to a table of twice the size."""

from __future__ import annotations

from bench import preload
from bench.loads.request import Request
from bench.loads.wrk import Load, wrk
from bench.measures.base import Bench, warm_up
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting

SID = "bench-doubling"
CONNECTIONS = 64


def measure(bench: Bench) -> list[Row]:
    """Measure the rate just before and just after Redis has begun, on a new Redis each run."""
    bench.needs_wrk()
    before: list[Load] = []
    during: list[Load] = []
    for run in range(bench.options.runs):
        with Stage() as stage:
            stage.open_meetings([quiet_meeting(SID)])
            preload.bindings(stage.redis, SID, bench.options.sizes.scale_bindings // 2, prefix="bb")
            preload.settle_tables(stage.redis)
            api, port = stage.api(2)
            with api:
                request = stage.request(port, SID)
                before.append(_load(bench, stage, request, prefix="aaaa"))
                preload.settle_tables(stage.redis)
                preload.outgrow_tables(stage.redis, SID, prefix="d000")
                during.append(_load(bench, stage, request, prefix="aaab"))
        bench.say(f"run {run + 1}: {before[-1].rate:,.0f}/s, {during[-1].rate:,.0f}/s")
    return [
        ratio(
            "doubling.rate",
            "claims/s while Redis's table of keys doubles, against before",
            [load.rate for load in during],
            [load.rate for load in before],
            Goal(at_least=0.85),
        ),
        Row("doubling.p99", "while it doubles: p99", "ms", tuple(x.p99_ms for x in during)),
        Row("doubling.p99.before", "before: p99", "ms", tuple(x.p99_ms for x in before)),
    ]


def _load(bench: Bench, stage: Stage, request: Request, *, prefix: str) -> Load:
    options = bench.options
    wanted = int(options.sizes.links_per_second * (options.seconds + 2))
    preload.fresh_links(stage.redis, SID, wanted, prefix=prefix)
    if prefix == "aaaa":
        warm_up(bench, request, CONNECTIONS)
    return wrk(
        request, connections=CONNECTIONS, seconds=options.seconds, threads=options.wrk_threads
    )
