"""Measure one request for a thousand customers against the script calls alone."""

from __future__ import annotations

import http.client
import json
import time

from bench.contestants.linkpool import Linkpool
from bench.measures.base import Bench
from bench.rows import Goal, Row, ratio
from bench.stage import Stage
from pool.compose import Parts
from pool.store.records import BATCH_LIMIT, payload

CUSTOMERS = 1_000  # as many as one request may name
ROUNDS = 10  # per run; the median counts


def measure(bench: Bench) -> list[Row]:
    """Measure a batch over HTTP, and the same number of claims by the claim script alone."""
    batches: list[float] = []
    scripts: list[float] = []
    rounds = 3 if bench.options.quick else ROUNDS
    with Stage() as stage:
        links_per_second = 2 * CUSTOMERS * (rounds + 1) * bench.options.runs
        ours = Linkpool(stage, 1, links_per_second)
        try:
            ours.start()
            for run in range(bench.options.runs):
                ours.refill(1.0)
                batches.append(_over_http(ours, run, rounds))
                scripts.append(_by_script(stage, ours.sid, run, rounds))
                bench.say(
                    f"run {run + 1}: a batch {batches[-1] * 1000:.1f} ms, "
                    f"its script calls {scripts[-1] * 1000:.1f} ms"
                )
        finally:
            ours.stop()
    return [
        ratio(
            "ratio.batch.script",
            f"{CUSTOMERS:,} customers by one request against {CUSTOMERS:,} by script calls alone",
            batches,
            scripts,
            Goal(at_most=3.0),
            note=f"the script is called for {BATCH_LIMIT} customers at a time, in turn",
        ),
        Row("seconds.batch", f"{CUSTOMERS:,} customers by one request", "s", tuple(batches)),
        Row("seconds.batch.script", f"{CUSTOMERS:,} customers by script", "s", tuple(scripts)),
    ]


def _over_http(ours: Linkpool, run: int, rounds: int) -> float:
    """Return the median seconds of a request, from its first byte to the last of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
    headers = {"X-API-Key": ours.stage.key}
    path = f"/v1/meetings/{ours.sid}/claims:batch"
    taken = []
    try:
        for turn in range(rounds + 1):
            claims = [{"customer_id": f"http-{run}-{turn}-{each}"} for each in range(CUSTOMERS)]
            body = json.dumps({"claims": claims})
            started = time.perf_counter()
            connection.request("POST", path, body, headers)
            answer = connection.getresponse().read()
            taken.append(time.perf_counter() - started)
            statuses = {each["status"] for each in json.loads(answer)["results"]}
            if statuses != {201}:
                raise RuntimeError(f"the batch was answered {statuses}")
    finally:
        connection.close()
    return _median(taken[1:])  # the first one opens connections


def _by_script(stage: Stage, sid: str, run: int, rounds: int) -> float:
    """Return the median seconds of the script calls for as many customers."""

    async def work(parts: Parts) -> list[float]:
        taken = []
        for turn in range(rounds + 1):
            customers = [f"script-{run}-{turn}-{each}" for each in range(CUSTOMERS)]
            named = [(parts.store.names.name(sid, each), payload(each)) for each in customers]
            started = time.perf_counter()
            for start in range(0, CUSTOMERS, BATCH_LIMIT):
                batch = await parts.store.claim(sid, named[start : start + BATCH_LIMIT])
                if any(each.claim is None for each in batch.answers):
                    raise RuntimeError("the pool ran dry")
            taken.append(time.perf_counter() - started)
        return taken[1:]

    return _median(stage.work(work))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
