"""Test the counts of processes that ended, after those that come next have started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.multiprocess import MultiProcessCollector

from pool.telemetry.shared_counts import carry_over

COUNTS = """
from pool.telemetry.metrics import Metrics
metrics = Metrics()
metrics.claims.labels("m", "new").inc(3)
metrics.claim_seconds.observe(0.004)
metrics.fences.inc()
"""


def process(directory: Path) -> int:
    """Run a process that counts and ends. Return its id."""
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    started = subprocess.Popen([sys.executable, "-c", COUNTS], env=environ)
    assert started.wait(60) == 0
    return started.pid


def totals(directory: Path) -> dict[str, float]:
    """Return every sample over all files, as /metrics would show it."""
    files = [str(path) for path in directory.glob("*.db")]
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_what_ended_processes_counted_stays_counted(tmp_path: Path) -> None:
    """Again and again, in one file per kind however many processes there were."""
    process(tmp_path)
    process(tmp_path)
    before = totals(tmp_path)
    assert before["linkpool_claims_total[('meeting', 'm'), ('outcome', 'new')]"] == 6
    assert before["linkpool_claim_seconds_bucket[('le', '0.005')]"] == 2
    for _ in range(3):
        carry_over(tmp_path)
        assert totals(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "counter_carried.db",
        "histogram_carried.db",
    ]
    process(tmp_path)
    carry_over(tmp_path)
    assert totals(tmp_path)["linkpool_fences_total[]"] == 3


def test_a_process_that_lives_keeps_its_file(tmp_path: Path) -> None:
    """It goes on counting there, and nothing of it is counted twice."""
    pid = process(tmp_path)
    mine = tmp_path / f"counter_{os.getpid()}.db"
    (tmp_path / f"counter_{pid}.db").rename(mine)
    before = totals(tmp_path)
    carry_over(tmp_path)
    assert mine.exists()
    assert totals(tmp_path) == before


def test_a_broken_file_costs_its_own_counts_only(tmp_path: Path) -> None:
    """A crash may leave one that is empty or torn."""
    process(tmp_path)
    before = totals(tmp_path)
    (tmp_path / "counter_4194000.db").write_bytes(b"")
    (tmp_path / "counter_4194001.db").write_bytes(b"\x40\x00\x00\x00" + b"\xff" * 90)
    carry_over(tmp_path)
    assert totals(tmp_path) == before
