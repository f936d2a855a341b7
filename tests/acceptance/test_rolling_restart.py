"""Test on a small scale that a rolling restart of two APIs behind HAProxy fails no claim.

`python -m tests.rolling` does it with 2,000 claims a second, and restarts all other parts as well.
"""

from __future__ import annotations

from pathlib import Path

from product import Product, wait_until

from tests.rolling import Pair
from tests.steady_crowd import SteadyCrowd


def test_a_rolling_restart_fails_no_claim(shared: Product, tmp_path: Path) -> None:
    shared.put("rolling", min_fresh=50, max_fresh=2_000, cover_seconds=60)
    pair = Pair(shared, tmp_path)
    with pair.serving(), SteadyCrowd(pair.port, "rolling", shared.key, 50) as crowd:
        for name in pair.apis:
            before = crowd.claimed
            pair.restart(name)
            wait_until(lambda before=before: crowd.claimed > before + 20)
    assert not crowd.failed, crowd.failed
