"""Read /metrics."""

from __future__ import annotations

import re

import httpx

_LINE = re.compile(r'^linkpool_claim_batch_size_bucket\{.*?le="([^"]+)".*?\} (\S+)$', re.MULTILINE)
_SUM = re.compile(r"^linkpool_claim_batch_size_sum(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def batch_sizes(port: int) -> tuple[dict[float, float], float]:
    """Return how many script calls served at most each number of customers, and the sum of all
    customers.
    """
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    answer.raise_for_status()
    buckets: dict[float, float] = {}
    for bound, count in _LINE.findall(answer.text):
        buckets[float(bound)] = buckets.get(float(bound), 0.0) + float(count)
    return buckets, sum(float(value) for value in _SUM.findall(answer.text))
