"""Measure a site with a key that claims at a steady rate while its public key is drained.

A script claims for new visitors from 1,000 addresses at 100 requests a second. The limit per
meeting is off, which would end that at once: here only the reserve stands in its way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench import preload
from bench.contestants.linkpool import Linkpool
from bench.loads.arrivals import Arrived, arrivals
from bench.loads.beside import beside
from bench.loads.wrk import BadLoad
from bench.measures.base import Bench
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from pool.access.public_keys import issue_public_key
from pool.compose import Parts

ORIGIN = "https://www.example.com"
RATE = 200.0  # claims per second with the API key
SECONDS, QUICK_SECONDS = 60.0, 5.0
_START_SECONDS = 2.0  # time for the script to start
SPARE, QUICK_SPARE = 2_000, 300  # links above the reserve, fewer than the script asks for


def measure(bench: Bench) -> list[Row]:
    """Measure the p99 of keyed claims alone and beside the script, in turn, and what it got."""
    quick = bench.options.quick
    seconds, spare = (QUICK_SECONDS, QUICK_SPARE) if quick else (SECONDS, SPARE)
    reserve = int(RATE * (seconds + 1))  # what the keyed claims of a run take
    alone: list[Arrived] = []
    beside: list[Arrived] = []
    given: list[float] = []
    refused: list[float] = []
    with Stage(PUBLIC_CLAIMS_PER_MINUTE_PER_MEETING="0") as stage:
        ours = Linkpool(stage, 1, 0)
        stage.open_meetings([quiet_meeting(ours.sid, reserve=reserve)])

        async def make(parts: Parts) -> str:
            return (await issue_public_key(parts.ledger, ours.sid, [ORIGIN], "", "bench")).id

        key = stage.work(make)
        try:
            ours.start()
            for run in range(bench.options.runs):
                _fill(stage, ours.sid, reserve + spare, run)
                alone.append(arrivals(ours.request, rate=RATE, seconds=seconds))
                _fill(stage, ours.sid, reserve + spare, run)
                with _script(ours.port, key, seconds + _START_SECONDS) as got:
                    _wait_until_it_claims(stage, ours.sid, reserve + spare)
                    beside.append(arrivals(ours.request, rate=RATE, seconds=seconds))
                given.append(float(got["201"]))
                refused.append(float(beside[-1].bad + beside[-1].unanswered))
                bench.say(
                    f"run {run + 1}: keyed p99 {alone[-1].p99_ms:.2f} ms alone, "
                    f"{beside[-1].p99_ms:.2f} ms beside the script, which got {dict(got)}"
                )
        finally:
            ours.stop()
    return [
        Row(
            "public.given",
            f"links that the script got, of {spare:,} above the reserve",
            "links",
            tuple(given),
            Goal(at_most=spare),
        ),
        Row(
            "public.refused",
            "keyed claims beside it that were refused",
            "claims",
            tuple(refused),
            Goal(at_most=0),
        ),
        ratio(
            "ratio.p99.public.alone",
            "p99 of keyed claims beside the script, against alone",
            [each.p99_ms for each in beside],
            [each.p99_ms for each in alone],
        ),
        Row("public.p99.alone", "alone: p99", "ms", tuple(each.p99_ms for each in alone)),
        Row("public.p99.beside", "beside: p99", "ms", tuple(each.p99_ms for each in beside)),
        Row("public.p50.alone", "alone: p50", "ms", tuple(each.p50_ms for each in alone)),
        Row("public.p50.beside", "beside: p50", "ms", tuple(each.p50_ms for each in beside)),
    ]


def _fill(stage: Stage, sid: str, links: int, run: int) -> None:
    """Take back all claims, and fill the pool up to this number of links."""
    preload.forget_claims(stage.redis, sid)
    missing = links - preload.level(stage.redis, sid)
    if missing > 0:
        # Each run's links have numbers of their own.
        first = (run * 2 + 1) * 10_000_000 + int(stage.redis.incr("bench:filled")) * 1_000_000
        preload.fresh_links(stage.redis, sid, missing, prefix="pub0", first=first)


def _wait_until_it_claims(stage: Stage, sid: str, links: int) -> None:
    deadline = time.monotonic() + 30
    while preload.level(stage.redis, sid) >= links:
        if time.monotonic() > deadline:
            raise BadLoad("the script claims nothing")
        time.sleep(0.01)


@contextmanager
def _script(port: int, key: str, seconds: float) -> Iterator[Counter[str]]:
    """Run the script for this long. Yield a counter that holds its answers at the end."""
    options = ("--port", str(port), "--origin", ORIGIN, "--public-key", key)
    got: Counter[str] = Counter()
    with beside("bench.loads.drain", seconds, *options) as answers:
        yield got
    got.update(answers)
