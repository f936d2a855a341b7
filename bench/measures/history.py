"""Measure what a meeting's history takes in Redis, and how long a sample of very many takes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from bench.measures.base import Bench
from bench.rows import Goal, Row
from bench.stage import Stage
from pool.compose import Parts
from pool.store.chunks import STEPS
from pool.store.history import History
from pool.store.records import Level, Span, Totals

TARGET = 400
BUSY = 20
CLAIMS_A_DAY = 100
_DAY_SECONDS = 86_400
_KEPT_SECONDS = Span.FIVE_WEEKS.seconds


def measure(bench: Bench) -> list[Row]:
    """Measure bytes per meeting, quiet, seldom claimed and busy, and the seconds of a sample."""
    count = bench.options.sizes.plan_meetings
    with Stage() as stage:

        def used(levels: Sequence[Level], moments: Iterable[int]) -> float:
            """Return the bytes that a meeting's history takes after samples at these moments."""
            stage.redis.flushall()
            before = int(stage.redis.info("memory")["used_memory"])
            stage.work(lambda parts: _live(parts, levels, moments))
            after = int(stage.redis.info("memory")["used_memory"])
            return (after - before) / len(levels)

        now = int(time.time()) // 3_600 * 3_600
        quiet = used(_levels(count), range(now - 600, now, 10))
        seldom = used(_levels(BUSY), _seldom(now))
        busy = used(_levels(BUSY), _always(now))
        stage.redis.flushall()
        seconds = stage.work(lambda parts: _sampling(parts, count, max(3, bench.options.runs)))
    bench.say(f"quiet {quiet:.0f} B, seldom {seldom:.0f} B, busy {busy:.0f} B a meeting")
    return [
        Row("history.quiet", f"a meeting in which nothing changes, of {count:,}", "B", (quiet,)),
        Row("history.seldom", f"a meeting with {CLAIMS_A_DAY} claims a day", "B", (seldom,)),
        Row("history.busy", "a meeting that changes every 10 s", "B", (busy,)),
        Row(
            "history.sample",
            f"a sample of {count:,} meetings, a tenth of them changed",
            "s",
            tuple(seconds),
            Goal(at_most=0.5),
        ),
    ]


def _levels(count: int) -> list[Level]:
    return [
        Level(
            sid=f"bench-{number:05d}",
            fresh=TARGET,
            fence="stands",
            epoch="",
            backlog=0,
            claims_per_second=0.0,
            oldest_fresh_seconds=None,
            block=None,
            published="",
            target=TARGET,
            now_ms=0,
            totals=Totals(),
        )
        for number in range(count)
    ]


def _always(now: int) -> list[int]:
    """Return five weeks of samples that leave anything: hourly, each minute, each 10 s."""
    moments = set(range(now - _KEPT_SECONDS, now, 3_600))
    return sorted(moments.union(*(range(now - s.seconds, now, s.step_seconds) for s in STEPS)))


def _seldom(now: int) -> list[int]:
    chance = random.Random(1)  # noqa: S311 - the same moments each time
    days = range(now - _KEPT_SECONDS, now, _DAY_SECONDS)
    return sorted(day + chance.randrange(_DAY_SECONDS) for day in days for _ in range(CLAIMS_A_DAY))


async def _live(parts: Parts, levels: Sequence[Level], moments: Iterable[int]) -> None:
    """Make about one claim and top-up per meeting between samples; none for very many meetings."""
    chance = random.Random(2)  # noqa: S311
    targets = {level.sid: TARGET for level in levels}
    totals = {level.sid: Totals() for level in levels}
    for moment in moments:
        now = []
        for level in levels:
            fresh = level.fresh
            if len(levels) <= BUSY:
                fresh = TARGET - chance.randrange(100)
                was = totals[level.sid]
                totals[level.sid] = Totals(
                    was.claims + 1 + chance.randrange(20),
                    was.top_ups + chance.randrange(20),
                    was.bookings + chance.randrange(2),
                )
            now.append(replace(level, fresh=fresh, now_ms=moment * 1000, totals=totals[level.sid]))
        await History(parts.store._redis).sample(now, targets, sweep_seconds=5.0)


async def _sampling(parts: Parts, count: int, runs: int) -> list[float]:
    levels = _levels(count)
    targets = {level.sid: TARGET for level in levels}
    took = []
    start = int(time.time()) // 3_600 * 3_600
    for run in range(runs + 1):
        now = [
            replace(
                level,
                now_ms=(start + 10 * run) * 1000,
                totals=Totals(claims=run) if place % 10 == 0 else Totals(),
            )
            for place, level in enumerate(levels)
        ]
        started = time.perf_counter()
        await History(parts.store._redis).sample(now, targets, sweep_seconds=5.0)
        took.append(time.perf_counter() - started)
    return took[1:]  # the first writes every meeting's first sample
