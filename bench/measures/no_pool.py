"""Measure the cost of a view with linkpool, and with the provider asked every time."""

from __future__ import annotations

from bench.contestants.base import Contestant
from bench.contestants.linkpool import Linkpool
from bench.contestants.no_pool import PROVIDER_SECONDS, NoPool
from bench.measures.base import Bench, load_rows, take_turns
from bench.rows import Row, ratio
from bench.stage import Stage

CONNECTIONS = (1, 16)


def measure(bench: Bench) -> list[Row]:
    """Measure the p50 of both, and how many times as long a view without a pool takes."""
    bench.needs_wrk()
    connections = CONNECTIONS[:1] if bench.options.quick else CONNECTIONS
    with Stage() as stage:
        ours = Linkpool(stage, 1, bench.options.sizes.links_per_second)
        theirs = NoPool(stage)
        field: list[Contestant] = [ours, theirs]
        try:
            for contestant in field:
                contestant.start()
            rounds = take_turns(bench, field, connections)
        finally:
            for contestant in field:
                contestant.stop()
    ratios = [
        ratio(
            f"ratio.p50.no-pool.linkpool-1.{each}",
            f"a view without a pool takes this many times as long (p50, {each} connections)",
            [load.p50_ms for load in rounds[theirs.name][each]],
            [load.p50_ms for load in rounds[ours.name][each]],
            note=f"provider latency {PROVIDER_SECONDS * 1000:g} ms, no limit on its calls",
        )
        for each in connections
    ]
    return ratios + load_rows(field, rounds)
