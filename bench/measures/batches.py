"""Measure batches: how many customers one script call serves."""

from __future__ import annotations

import time

from bench.contestants.linkpool import Linkpool
from bench.measures.base import Bench, one_load
from bench.measures.exposition import batch_sizes
from bench.rows import Row
from bench.stage import Stage

FLUSH_SECONDS = 1.2  # the processes hand their counts over twice a second


def measure(bench: Bench) -> list[Row]:
    """Measure the mean batch and its distribution at each number of connections."""
    bench.needs_wrk()
    rows = []
    with Stage() as stage:
        ours = Linkpool(stage, 2, bench.options.sizes.links_per_second)
        try:
            ours.start()
            for connections in bench.options.sizes.connections:
                means = []
                shares: dict[float, float] = {}
                for _ in range(bench.options.runs):
                    before, customers_before = batch_sizes(ours.port)
                    one_load(bench, ours, connections)
                    time.sleep(FLUSH_SECONDS)
                    after, customers = batch_sizes(ours.port)
                    counts = {size: after[size] - before.get(size, 0.0) for size in sorted(after)}
                    calls = counts[max(counts)]
                    means.append((customers - customers_before) / calls if calls else 0.0)
                    shares = {size: count / calls for size, count in counts.items() if calls}
                said = ", ".join(f"≤ {size:g}: {share:.0%}" for size, share in shares.items())
                bench.say(f"{connections} connections: {means[-1]:.1f} customers a call ({said})")
                rows.append(
                    Row(
                        f"batch.{connections}",
                        f"customers per script call, {connections} connections, 2 API workers",
                        "customers",
                        tuple(means),
                        note=f"calls of the last run by size, cumulated: {said}",
                    )
                )
        finally:
            ours.stop()
    return rows
