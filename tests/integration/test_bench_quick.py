"""Test that the benchmark program runs and writes its results; their numbers are not checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_quick_run_writes_its_results(tmp_path: Path) -> None:
    """One measure loads the whole claim path, and one needs no load generator."""
    if shutil.which("wrk") is None and not os.environ.get("CI"):
        pytest.skip("wrk is not installed: apt-get install wrk")

    done = bench("--quick", "--only", "repeated", "memory", "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert results["missing"] == []
    assert set(results["measures"]) == {"repeated", "memory"}
    rows = {row["name"]: row for measure in results["measures"].values() for row in measure["rows"]}
    for name in ("ratio.rate.repeated.first", "rate.first", "memory.fresh", "memory.binding"):
        assert rows[name]["median"] > 0
    text = (tmp_path / "results.md").read_text("utf-8")
    assert "`python -m bench --quick --only repeated`" in text
    assert "its numbers mean nothing" in text


def test_an_unknown_measure_is_refused_with_the_names_of_those_there_are() -> None:
    """It ends with code 2 before anything is started."""
    done = bench("--only", "everything")

    assert done.returncode == 2
    assert "claims" in done.stderr
