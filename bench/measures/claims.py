"""Measure claims per second at saturation: 64 connections, a new customer each.

linkpool's whole claim path (key, validation, binding, stream, metrics) against its peers.
The links have no ledger rows, the worker is off for all: nobody records or tops up meanwhile
(the measure `whole` has the same with everything on).
"""

from __future__ import annotations

from collections.abc import Callable

from bench.loads.wrk import Load
from bench.measures.base import Bench, Rounds, field_of, load_rows, take_turns
from bench.rows import Goal, Row, ratio
from bench.stage import Stage

CONNECTIONS = 64
NAMES = (
    *("linkpool-2", "webdis", "obvious-2", "noop-2", "noop-api-2", "sql-2"),
    *("linkpool-1", "obvious-1", "noop-1", "noop-api-1"),
)


def rate_of(load: Load) -> float:
    """Return claims per second."""
    return load.rate


def p99_of(load: Load) -> float:
    """Return the 99th percentile of latency."""
    return load.p99_ms


# ours, theirs, what is compared, title, goal
_RATIOS: tuple[tuple[str, str, str, Callable[[Load], float], str, Goal | None], ...] = (
    ("linkpool-2", "webdis", "rate", rate_of, "rate against webdis", Goal(at_least=1.2)),
    ("linkpool-1", "webdis", "rate", rate_of, "rate against webdis", Goal(at_least=1.0)),
    ("linkpool-2", "webdis", "p99", p99_of, "p99 against webdis", Goal(at_most=1.0)),
    ("linkpool-1", "webdis", "p99", p99_of, "p99 against webdis", None),
    ("linkpool-2", "obvious-2", "rate", rate_of, "rate against FastAPI", Goal(at_least=6)),
    ("linkpool-1", "obvious-1", "rate", rate_of, "rate against FastAPI", Goal(at_least=6)),
    ("linkpool-2", "noop-2", "rate", rate_of, "rate against a no-op", Goal(at_least=0.6)),
    ("linkpool-1", "noop-1", "rate", rate_of, "rate against a no-op", Goal(at_least=0.6)),
    ("linkpool-2", "noop-api-2", "rate", rate_of, "rate against a no-op on its own server", None),
    ("linkpool-1", "noop-api-1", "rate", rate_of, "rate against a no-op on its own server", None),
    ("linkpool-2", "sql-2", "rate", rate_of, "rate against a SQL pool", None),
)


def measure(bench: Bench) -> list[Row]:
    """Measure rates, latencies, and their ratios."""
    bench.needs_wrk()
    with Stage() as stage, field_of(bench, stage, bench.some(NAMES, 6)) as field:
        rounds = take_turns(bench, field, [CONNECTIONS])
        return _ratios(rounds) + load_rows(field, rounds)


def _ratios(rounds: Rounds) -> list[Row]:
    rows = []
    for ours, theirs, what, of, title, goal in _RATIOS:
        if ours in rounds and theirs in rounds:
            rows.append(
                ratio(
                    f"ratio.{what}.{ours}.{theirs}",
                    f"{ours.removeprefix('linkpool-')} API worker(s): {title}",
                    [of(load) for load in rounds[ours][CONNECTIONS]],
                    [of(load) for load in rounds[theirs][CONNECTIONS]],
                    goal,
                )
            )
    return rows
