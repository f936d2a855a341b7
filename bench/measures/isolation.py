"""Measure how fast pools are filled in a workspace of 200 meetings, a tenth of them refused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.measures.base import Bench
from bench.rows import TIMES, Goal, Row
from bench.stage import Stage
from pool.model.meetings import Meeting
from pool.store import key_names

LIMIT, LATENCY_SECONDS = 20.0, 0.15
WAYS = ("403", "404", "500", "html", "hang")
REFUSED_SHARE = 10  # one meeting of so many


def measure(bench: Bench) -> list[Row]:
    """Measure the links per second that enter the pools of healthy meetings, alone and beside
    refused ones.
    """
    sizes = bench.options.sizes
    refused = sizes.isolation_meetings // REFUSED_SHARE
    good = [f"good-{number:03d}" for number in range(sizes.isolation_meetings - refused)]
    bad = [f"bad-{number:03d}" for number in range(refused)]
    alone, beside = [], []
    for run in range(bench.options.runs):
        alone.append(_rate(good, [], sizes.isolation_links))
        beside.append(_rate(good, bad, sizes.isolation_links))
        bench.say(f"run {run + 1}: {alone[-1]:.2f} links/s alone, {beside[-1]:.2f} beside")
    ratios = tuple(one / other for one, other in zip(beside, alone, strict=True))
    what = f"{len(good)} meetings of {sizes.isolation_links} links, provider at {LIMIT:g}/s"
    ways = f"{refused} meetings beside them are refused: {', '.join(WAYS)}"
    return [
        Row("isolation.alone", what, "links/s", tuple(alone)),
        Row("isolation.beside", ways, "links/s", tuple(beside)),
        Row("ratio.isolation", "of the rate alone", TIMES, ratios, Goal(at_least=0.95)),
    ]


def _rate(good: Sequence[str], bad: Sequence[str], links: int) -> float:
    """Return links per second until the pools of all good meetings are full."""
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stage.open_meetings(
            [Meeting(sid, min_fresh=links, max_fresh=links) for sid in sorted([*good, *bad])]
        )
        refusals = ",".join(f"{sid}={WAYS[n % len(WAYS)]}" for n, sid in enumerate(bad))
        stack.enter_context(
            stage.sandbox(
                *("--latency-seconds", str(LATENCY_SECONDS)),
                *("--limit-per-second", str(LIMIT)),
                *(("--refuse-meetings", refusals) if refusals else ()),
            )
        )
        stack.enter_context(stage.worker())
        stack.enter_context(stage.beat())
        wanted = len(good) * links
        started = None
        deadline = time.monotonic() + 60 + 5 * wanted / LIMIT
        while (made := _pooled(stage, good)) < wanted:
            if started is None and made:
                started = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {made} of {wanted} links")
            time.sleep(0.1)
        return wanted / (time.monotonic() - (started or time.monotonic() - 1))


def _pooled(stage: Stage, sids: Sequence[str]) -> int:
    pipe = stage.redis.pipeline(transaction=False)
    for sid in sids:
        pipe.zcard(key_names.fresh(sid))
    return sum(pipe.execute())
