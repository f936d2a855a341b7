"""Measure memory, stream and latency over minutes at four fifths of the peak.

Off unless asked for. Everything runs; claims lapse after a minute, so that what Redis holds
levels off. The links are made up beforehand and the recorder inserts their rows.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench import preload
from bench.loads.arrivals import arrivals
from bench.loads.wrk import wrk
from bench.measures.base import Bench
from bench.rows import Row
from bench.stage import Stage, quiet_meeting
from pool.store import key_names

SID = "bench-soak"
CONNECTIONS = 64
SHARE = 0.8
STEP_SECONDS = 20.0


def measure(bench: Bench) -> list[Row]:
    """Measure one value per step of the time series."""
    bench.needs_wrk()
    p50, p99, rss, stream, redis_mb, rates = [], [], [], [], [], []
    step = min(STEP_SECONDS, bench.options.minutes * 60)
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        stage.open_meetings([quiet_meeting(SID, claim_ttl_seconds=60)])
        api, port = stage.api(2)
        for process in (stage.sandbox(), api, stage.worker(), stage.beat()):
            stack.enter_context(process)
        time.sleep(5)  # the worker is up
        request = stage.request(port, SID)
        per_second = bench.options.sizes.links_per_second
        made = preload.fresh_links(stage.redis, SID, per_second * 7, prefix="aaaa")
        peak = wrk(request, connections=CONNECTIONS, seconds=5, threads=2).rate
        rate = SHARE * peak
        bench.say(f"{bench.options.minutes:g} minutes at {rate:,.0f}/s")
        steps = max(1, round(bench.options.minutes * 60 / step))
        for number in range(steps):
            missing = int(rate * step * 1.2) - preload.level(stage.redis, SID)
            if missing > 0:
                preload.fresh_links(stage.redis, SID, missing, prefix="bbbb", first=made)
                made += missing
            arrived = arrivals(request, rate=rate, seconds=step)
            rates.append(arrived.rate)
            p50.append(arrived.p50_ms)
            p99.append(arrived.p99_ms)
            rss.append(api.rss_bytes() / 1e6)
            stream.append(float(stage.redis.xlen(key_names.claims(SID))))
            redis_mb.append(stage.redis.info("memory")["used_memory"] / 1e6)
            bench.say(
                f"step {number + 1} of {steps}: {arrived.rate:,.0f}/s, p99 {p99[-1]:.2f} ms, "
                f"API {rss[-1]:.0f} MB, stream {stream[-1]:,.0f}, Redis {redis_mb[-1]:.0f} MB"
            )
    note = f"in steps of {step:g} s, in order"
    return [
        Row("soak.rate", f"asked for {rate:,.0f}/s, got", "claims/s", tuple(rates), note=note),
        Row("soak.p50", "p50", "ms", tuple(p50), note=note),
        Row("soak.p99", "p99", "ms", tuple(p99), note=note),
        Row("soak.rss", "API processes together, resident", "MB", tuple(rss), note=note),
        Row("soak.stream", "claims not recorded yet", "claims", tuple(stream), note=note),
        Row("soak.redis", "Redis", "MB", tuple(redis_mb), note=note),
    ]
