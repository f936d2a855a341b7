"""List all measures by name, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.measures import (
    batch,
    batches,
    claims,
    cluster,
    doubling,
    embed,
    history,
    hostile,
    idle,
    isolation,
    latency,
    ledger,
    memory,
    no_pool,
    open_loop,
    pages,
    paint,
    planning,
    public,
    recorder,
    recovery,
    repeated,
    scale,
    shards,
    shared_limit,
    soak,
    startup,
    tail,
    topup,
    two_apis,
    whole,
)
from bench.measures.base import Bench
from bench.rows import Row


class Measure(NamedTuple):
    """One measure."""

    title: str
    take: Callable[[Bench], list[Row]]
    by_default: bool = True
    in_quick: bool = True


MEASURES: dict[str, Measure] = {
    "claims": Measure("Claims at saturation", claims.measure),
    "latency": Measure("Latency by connections", latency.measure),
    "repeated": Measure("Repeated claims", repeated.measure),
    "batch": Measure("A thousand customers at once", batch.measure),
    "batches": Measure("Batches", batches.measure, in_quick=False),
    "open_loop": Measure("Constant arrival rate", open_loop.measure),
    "no_pool": Measure("Without a pool", no_pool.measure),
    "whole": Measure("Everything on, and the ledger down", whole.measure),
    "pages": Measure("Watched by operators", pages.measure),
    "paint": Measure("Until a page is drawn", paint.measure, in_quick=False),
    "hostile": Measure("Strangers without a key", hostile.measure),
    "public": Measure("A public key that is drained", public.measure, in_quick=False),
    "embed": Measure("From sight to calendar, in a browser", embed.measure, in_quick=False),
    "two-apis": Measure("Two API processes behind HAProxy", two_apis.measure, by_default=False),
    "scale": Measure("Very many links, bindings and meetings", scale.measure),
    "cluster": Measure("On a Redis Cluster", cluster.measure, in_quick=False),
    "shards": Measure(
        "One hot meeting over the masters of a Cluster", shards.measure, in_quick=False
    ),
    "doubling": Measure("While Redis's table of keys doubles", doubling.measure, in_quick=False),
    "memory": Measure("Memory", memory.measure),
    "history": Measure("History", history.measure),
    "topup": Measure("Top-up", topup.measure),
    "shared_limit": Measure(
        "Top-up at a provider that fails or refuses at random",
        shared_limit.measure,
        in_quick=False,
    ),
    "isolation": Measure("Refused meetings beside others", isolation.measure, in_quick=False),
    "planning": Measure("Planning", planning.measure),
    "recorder": Measure("Recorder", recorder.measure),
    "ledger": Measure("A ledger of ten million links", ledger.measure, by_default=False),
    "recovery": Measure("Recovery", recovery.measure),
    "startup": Measure("Start", startup.measure),
    "idle": Measure("While nobody asks", idle.measure, in_quick=False),
    "tail": Measure("The slowest claims", tail.measure, by_default=False, in_quick=False),
    "soak": Measure("Soak", soak.measure, by_default=False, in_quick=False),
}
