"""Measure latency by number of connections, each sending as fast as it is answered."""

from __future__ import annotations

from bench.measures.base import Bench, field_of, load_rows, take_turns
from bench.rows import Goal, Row, ratio
from bench.stage import Stage

NAMES = ("linkpool-2", "webdis", "obvious-2", "noop-2", "sql-2", "linkpool-1")


def measure(bench: Bench) -> list[Row]:
    """Measure p50 and p99 per contestant and number of connections, and ratios against webdis."""
    bench.needs_wrk()
    rows = []
    with Stage() as stage, field_of(bench, stage, bench.some(NAMES)) as field:
        rounds = take_turns(bench, field, bench.options.sizes.connections)
        for ours in ("linkpool-2", "linkpool-1"):
            for connections, loads in rounds.get(ours, {}).items():
                theirs = rounds.get("webdis", {}).get(connections)
                if not theirs:
                    continue
                title = f"{ours}, {connections} connections"
                tail = f"{ours}.webdis.{connections}"
                rows.append(
                    ratio(
                        f"ratio.p50.{tail}",
                        f"{title}: p50 against webdis",
                        [load.p50_ms for load in loads],
                        [load.p50_ms for load in theirs],
                        Goal(at_most=1.5) if connections == 1 else None,
                    )
                )
                rows.append(
                    ratio(
                        f"ratio.p99.{tail}",
                        f"{title}: p99 against webdis",
                        [load.p99_ms for load in loads],
                        [load.p99_ms for load in theirs],
                        Goal(at_most=1.0) if connections == 64 else None,
                    )
                )
        return rows + load_rows(field, rounds)
