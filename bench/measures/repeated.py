"""Measure customers who come back: they get the link they hold."""

from __future__ import annotations

from bench.contestants.linkpool import Linkpool
from bench.loads.wrk import Load, new_run, wrk
from bench.measures.base import Bench, one_load
from bench.rows import Goal, Row, ratio
from bench.stage import Stage

CONNECTIONS = 64
CUSTOMERS = 2_000  # per wrk thread; each claims many times


def measure(bench: Bench) -> list[Row]:
    """Measure the rate of repeated claims, of first claims, and their ratio."""
    bench.needs_wrk()
    options = bench.options
    first: list[Load] = []
    again: list[Load] = []
    with Stage() as stage:
        ours = Linkpool(stage, 2, options.sizes.links_per_second)
        try:
            ours.start()
            for run in range(options.runs):
                first.append(one_load(bench, ours, CONNECTIONS))
                who = new_run()
                for seconds in (1.0, options.seconds):  # the first second binds them all
                    load = wrk(
                        ours.request,
                        connections=CONNECTIONS,
                        seconds=seconds,
                        threads=options.wrk_threads,
                        run=who,
                        customers=CUSTOMERS,
                    )
                again.append(load)
                bench.say(f"run {run + 1}: first {first[-1].rate:,.0f}/s, again {load.rate:,.0f}/s")
        finally:
            ours.stop()
    return [
        ratio(
            "ratio.rate.repeated.first",
            "repeated claims against first claims, 2 API workers, 64 connections",
            [load.rate for load in again],
            [load.rate for load in first],
            Goal(at_least=1.0),
        ),
        Row("rate.repeated", "repeated claims", "claims/s", tuple(x.rate for x in again)),
        Row("rate.first", "first claims", "claims/s", tuple(x.rate for x in first)),
    ]
