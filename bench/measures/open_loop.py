"""Measure latency at a constant arrival rate, half and four fifths of the measured peak.

Visitors do not wait for each other: latency counts from the moment a claim was due. The
generator is a Python process that shares the cores with what it loads.
"""

from __future__ import annotations

from bench.loads.arrivals import Arrived, arrivals
from bench.measures.base import Bench, field_of, one_load
from bench.rows import Row
from bench.stage import Stage

NAMES = ("linkpool-2", "webdis", "obvious-2")
SHARES = (0.5, 0.8)
PEAK_CONNECTIONS = 64


def measure(bench: Bench) -> list[Row]:
    """Measure p50, p99 and p99.9 of each contestant at shares of its own peak."""
    bench.needs_wrk()
    options = bench.options
    shares = SHARES[:1] if options.quick else SHARES
    rows = []
    with Stage() as stage, field_of(bench, stage, bench.some(NAMES)) as field:
        peaks = {each.name: one_load(bench, each, PEAK_CONNECTIONS).rate for each in field}
        seen: dict[tuple[str, float], list[Arrived]] = {}
        for _ in range(options.runs):
            for share in shares:
                for contestant in field:
                    rate = peaks[contestant.name] * share
                    contestant.refill(options.seconds + 1)
                    arrived = arrivals(contestant.request, rate=rate, seconds=options.seconds)
                    seen.setdefault((contestant.name, share), []).append(arrived)
                    bench.say(
                        f"{contestant.name} at {rate:,.0f}/s: got {arrived.rate:,.0f}/s, "
                        f"p50 {arrived.p50_ms:.2f}, p99 {arrived.p99_ms:.2f}, "
                        f"p99.9 {arrived.p999_ms:.2f} ms"
                    )
        for contestant in field:
            for share in shares:
                loads = seen[contestant.name, share]
                title = f"{contestant.title} at {share:.0%} of its peak"
                tail = f"{contestant.name}.{share:g}"
                unanswered = sum(load.unanswered for load in loads)
                note = f"{unanswered} never answered" if unanswered else ""
                rows += [
                    Row(
                        f"open.rate.{tail}",
                        f"{title} ({peaks[contestant.name] * share:,.0f}/s asked): rate",
                        "claims/s",
                        tuple(x.rate for x in loads),
                        note=note,
                    ),
                    Row(f"open.p50.{tail}", f"{title}: p50", "ms", tuple(x.p50_ms for x in loads)),
                    Row(f"open.p99.{tail}", f"{title}: p99", "ms", tuple(x.p99_ms for x in loads)),
                    Row(
                        f"open.p999.{tail}",
                        f"{title}: p99.9",
                        "ms",
                        tuple(x.p999_ms for x in loads),
                    ),
                    Row(
                        f"open.sent_late.{tail}",
                        f"{title}: p99 of how late a claim was sent (it is in the latencies)",
                        "ms",
                        tuple(x.sent_late_p99_ms for x in loads),
                    ),
                ]
    return rows
