"""Measure claims per second with very much in Redis, against very little.

Two Redis servers stand side by side, each with its API. The full one holds half of its links and
bindings in the meeting that is claimed from, the rest spread over all others. The small one begins
each run with only the links that the run uses up.

Redis doubles its table of keys when there are more keys than places (2^20, say), and moves
them one by one while it serves. That happens once in a long while and takes a fifth of its
time while it lasts, so it is measured by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import preload
from bench.loads.request import MEETING, Request
from bench.loads.wrk import Load, wrk
from bench.many import open_many
from bench.measures.base import Bench, warm_up
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting

SID = "m00000"
CONNECTIONS = 64


def measure(bench: Bench) -> list[Row]:
    """Measure rates on both, and claims that go over all meetings."""
    bench.needs_wrk()
    sizes, options = bench.options.sizes, bench.options
    small: list[Load] = []
    full: list[Load] = []
    growing: list[Load] = []
    spread: list[Load] = []
    with (
        _one(bench, 1) as (small_stage, to_small),
        _one(bench, sizes.scale_meetings) as (
            full_stage,
            to_full,
        ),
    ):
        used = _fill(bench, full_stage)
        bench.say(f"the full Redis uses {used / 1e6:,.0f} MB")
        _refill(bench, full_stage, 0)
        preload.outgrow_tables(full_stage.redis, SID, prefix="d000")
        growing.append(_load(bench, to_full))
        preload.settle_tables(full_stage.redis)
        bench.say(f"while its tables grow: {growing[0].rate:,.0f}/s")
        to_all = full_stage.request(to_full.port, MEETING)
        for run in range(1, options.runs + 1):
            preload.forget_claims(small_stage.redis, SID)
            _refill(bench, small_stage, run)
            small.append(_load(bench, to_small))
            _refill(bench, full_stage, run)
            full.append(_load(bench, to_full))
            spread.append(_load(bench, to_all, meetings=sizes.scale_meetings))
            bench.say(
                f"run {run}: small {small[-1].rate:,.0f}/s, full {full[-1].rate:,.0f}/s, "
                f"over all meetings {spread[-1].rate:,.0f}/s"
            )
    what = (
        f"{sizes.scale_fresh:,} fresh, {sizes.scale_bindings:,} bindings, "
        f"{sizes.scale_meetings:,} meetings"
    )
    return [
        ratio(
            "ratio.rate.full.small",
            f"claims/s with {what}, against a run's links, 0, 1 (2 API workers, 64 connections)",
            [load.rate for load in full],
            [load.rate for load in small],
            Goal(at_least=0.9),
        ),
        ratio(
            "ratio.rate.growing.small",
            "the same, one run while Redis moves its keys to tables of twice the size",
            [load.rate for load in growing],
            [small[0].rate],
        ),
        ratio(
            "ratio.rate.spread.small",
            "the same, claims going over all meetings in turn, so that none share a call",
            [load.rate for load in spread],
            [load.rate for load in small],
        ),
        Row("rate.small", "small", "claims/s", tuple(load.rate for load in small)),
        Row("rate.full", "full", "claims/s", tuple(load.rate for load in full)),
        Row("rate.growing", "full, tables growing", "claims/s", (growing[0].rate,)),
        Row("rate.spread", "over all meetings", "claims/s", tuple(load.rate for load in spread)),
        Row("p99.small", "small: p99", "ms", tuple(load.p99_ms for load in small)),
        Row("p99.full", "full: p99", "ms", tuple(load.p99_ms for load in full)),
        Row("memory.full", "memory of the full Redis before the load", "MB", (used / 1e6,)),
    ]


@contextmanager
def _one(bench: Bench, meetings: int) -> Iterator[tuple[Stage, Request]]:
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        open_many(stage, [quiet_meeting(f"m{n:05d}") for n in range(meetings)])
        api, port = stage.api(2)
        stack.enter_context(api)
        bench.say(f"opened {meetings:,} meetings")
        yield stage, stage.request(port, SID)


def _fill(bench: Bench, stage: Stage) -> int:
    sizes = bench.options.sizes
    per_meeting = max(1, sizes.scale_fresh // 2 // sizes.scale_meetings)
    bindings_each = max(1, sizes.scale_bindings // 2 // sizes.scale_meetings)
    preload.fresh_links(stage.redis, SID, sizes.scale_fresh // 2, prefix="aaaa")
    preload.bindings(stage.redis, SID, sizes.scale_bindings // 2, prefix="bbbb")
    for n in range(1, sizes.scale_meetings):
        sid = f"m{n:05d}"
        preload.fresh_links(stage.redis, sid, per_meeting, prefix="cccc", first=n * per_meeting)
        preload.bindings(stage.redis, sid, bindings_each, prefix=f"d{n % 4096:03x}")
    _settle(stage)
    return int(stage.redis.info("memory")["used_memory"])


def _refill(bench: Bench, stage: Stage, run: int) -> None:
    """Replace the links that a run uses up. Its bindings stay, as they do in real use."""
    wanted = int(bench.options.sizes.links_per_second * (bench.options.seconds + 2))
    if preload.level(stage.redis, SID) < wanted:
        preload.fresh_links(stage.redis, SID, wanted, prefix=f"e{run:03x}")
    _settle(stage)


def _settle(stage: Stage) -> None:
    """Wait until Redis has stopped rewriting its file, which would disturb the measure."""
    while True:
        state = stage.redis.info("persistence")
        if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
            return
        time.sleep(0.1)


def _load(bench: Bench, request: Request, meetings: int = 0) -> Load:
    threads = bench.options.wrk_threads
    warm_up(bench, request, CONNECTIONS, meetings)
    return wrk(
        request,
        connections=CONNECTIONS,
        seconds=bench.options.seconds,
        threads=threads,
        meetings=meetings,
    )
