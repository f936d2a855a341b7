"""Measure the slowest claims over minutes at a constant rate, rewrites of Redis's file included.

Off unless asked for. Everything runs; claims lapse after a minute, so that what Redis holds
levels off. The ledger has the rows of the links, as it has those of links that a provider made. The
second part takes three times as long as the first, at four fifths of the peak.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median

from bench import preload
from bench.contestants import webdis as webdis_peer
from bench.contestants.webdis import Webdis
from bench.loads.arrivals import Arrived, arrivals
from bench.loads.request import Request
from bench.loads.wrk import wrk
from bench.measures.base import Bench
from bench.rows import Goal, Row
from bench.stage import Stage, quiet_meeting

SID = "bench-tail"
CONNECTIONS = 64
STEP_SECONDS = 20.0
PARTS = ((0.5, 1, 20.0, 100.0), (0.8, 3, 150.0, None))  # share, times as long, goals in ms


def measure(bench: Bench) -> list[Row]:
    """Measure p99 and p99.9 of each step, and count the rewrites."""
    bench.needs_wrk()
    rows: list[Row] = []
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stage.open_meetings([quiet_meeting(SID, claim_ttl_seconds=60)])
        api, port = stage.api(2)
        for process in (stage.sandbox(), api, stage.worker(), stage.beat()):
            stack.enter_context(process)
        time.sleep(5)  # the worker is up
        request = stage.request(port, SID)
        fill = _Fill(stage)
        fill.up_to(bench.options.sizes.links_per_second * 7)
        peak = wrk(request, connections=CONNECTIONS, seconds=5, threads=2).rate
        for share, longer, p99_goal, p999_goal in PARTS:
            minutes = bench.options.minutes * longer
            links = int(share * peak * minutes * 60)
            bench.say(f"adding {links:,} links to the ledger")
            fill.rows(links)
            before = _rewrites(stage)
            steps = _steps(bench, request, fill, share * peak, minutes)
            note = f"{_rewrites(stage) - before} rewrites of Redis's file"
            title = f"{share:.0%} of the peak ({share * peak:,.0f}/s) for {minutes:g} minutes"
            rows += _rows(f"tail.{share:g}", title, steps, p99_goal, p999_goal, note)
    rows += _of_webdis(bench, PARTS[0][0] * peak, median(rows[0].values))
    return rows


def _steps(
    bench: Bench, request: Request, fill: _Fill, rate: float, minutes: float
) -> list[Arrived]:
    step = min(STEP_SECONDS, minutes * 60)
    seen = []
    for _ in range(max(1, round(minutes * 60 / step))):
        fill.up_to(int(rate * step * 1.2))
        seen.append(arrivals(request, rate=rate, seconds=step))
        bench.say(
            f"at {rate:,.0f}/s: got {seen[-1].rate:,.0f}/s, p50 {seen[-1].p50_ms:.2f}, "
            f"p99 {seen[-1].p99_ms:.2f}, p99.9 {seen[-1].p999_ms:.2f} ms"
        )
    return seen


def _rows(
    name: str,
    title: str,
    steps: list[Arrived],
    p99_goal: float,
    p999_goal: float | None,
    note: str,
) -> list[Row]:
    return [
        Row(
            f"{name}.p99",
            f"{title}: p99 of each {STEP_SECONDS:g} s",
            "ms",
            tuple(each.p99_ms for each in steps),
            Goal(at_most=p99_goal),
            note,
        ),
        Row(
            f"{name}.p999",
            f"{title}: p99.9 of each {STEP_SECONDS:g} s",
            "ms",
            tuple(each.p999_ms for each in steps),
            Goal(at_most=p999_goal) if p999_goal is not None else None,
        ),
        Row(f"{name}.rate", f"{title}: got", "claims/s", tuple(each.rate for each in steps)),
    ]


def _of_webdis(bench: Bench, rate: float, ours_ms: float) -> list[Row]:
    """Load webdis at the same rate for a fifth of the time, and compare p99."""
    if not webdis_peer.available():
        bench.lack("webdis is not installed: it is left out (Debian: package webdis)")
        return []
    seconds = min(STEP_SECONDS, bench.options.minutes * 12)
    with Stage() as stage:
        peer = Webdis(stage, bench.options.sizes.links_per_second)
        peer.start()
        try:
            peer.refill(seconds + 1)
            seen = [arrivals(peer.request, rate=rate, seconds=seconds)]
        finally:
            peer.stop()
    theirs = tuple(each.p99_ms for each in seen)
    return [
        Row("tail.webdis.p99", "webdis at the first of these rates: p99", "ms", theirs),
        Row(
            "tail.ratio",
            "p99 at half the peak, against webdis at the same rate",
            "times",
            (ours_ms / median(theirs),),
            Goal(at_most=1.0),
        ),
    ]


class _Fill:
    """Keep enough made-up links in the pool."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._made = 0
        self._rows = 0

    def up_to(self, links: int) -> None:
        """Add links until the pool has this number."""
        missing = links - preload.level(self._stage.redis, SID)
        if missing > 0:
            self.rows(self._made + missing - self._rows)
            preload.fresh_links(self._stage.redis, SID, missing, prefix="bbbb", first=self._made)
            self._made += missing

    def rows(self, links: int) -> None:
        """Add the ledger's rows of this many links that are not in the pool yet."""
        if links > 0:
            self._stage.work(
                lambda parts: preload.rows(parts, SID, links, prefix="bbbb", first=self._rows)
            )
            self._rows += links


def _rewrites(stage: Stage) -> int:
    return int(stage.redis.info("stats").get("total_forks", 0))
