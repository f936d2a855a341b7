"""Measure how long one look over very many meetings takes, of which some are low."""

from __future__ import annotations

import time

from bench import preload
from bench.many import open_many
from bench.measures.base import Bench
from bench.rows import Goal, Row
from bench.stage import Stage
from pool.compose import Parts
from pool.config.settings import DEFAULT_WORKSPACE
from pool.model.meetings import Meeting
from worker.sweep import sweep
from worker.top_up import prepare

FRESH = 20


def measure(bench: Bench) -> list[Row]:
    """Measure the seconds of a sweep, and of the plan that top-up makes."""
    sizes = bench.options.sizes
    low = sizes.plan_low
    with Stage() as stage:
        meetings = [
            Meeting(f"m{n:05d}", min_fresh=FRESH, max_fresh=FRESH)
            for n in range(sizes.plan_meetings)
        ]
        open_many(stage, meetings)
        for meeting in meetings[low:]:
            preload.fresh_links(stage.redis, meeting.sid, FRESH, prefix="aaaa")
        sweeps, plans = stage.work(lambda parts: _look(parts, max(3, bench.options.runs)))
    bench.say(f"sweep {sweeps[-1]:.2f} s, plan {plans[-1]:.2f} s")
    what = f"{sizes.plan_meetings:,} meetings, {low} of them low"
    return [
        Row("plan.sweep", f"one sweep, {what}", "s", tuple(sweeps), Goal(at_most=1.0)),
        Row("plan.top-up", f"top-up's plan, {what}", "s", tuple(plans), Goal(at_most=1.0)),
    ]


async def _look(parts: Parts, runs: int) -> tuple[list[float], list[float]]:
    sweeps, plans = [], []
    for _ in range(runs):
        started = time.perf_counter()
        await sweep(parts)
        sweeps.append(time.perf_counter() - started)
        # A new run of the loop each time: the first look is the one that writes targets.
        top_up = prepare(parts, DEFAULT_WORKSPACE, parts.makers[DEFAULT_WORKSPACE])
        started = time.perf_counter()
        planned = await top_up.look()
        plans.append(time.perf_counter() - started)
        if not planned:
            raise RuntimeError("nothing was planned")
    return sweeps, plans
