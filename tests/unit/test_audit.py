"""Test CI's check for known vulnerabilities: a look-up that failed never counts as a clean one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci/audit.py"
CLEAN = {"name": "redis", "version": "8.1.0", "vulns": []}
BAD = {"name": "h2", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
SKIPPED = {"name": "mine", "skip_reason": "not known"}
AWAY = "import sys; sys.exit('requests.ConnectionError: to a host')"


def says(*found: dict[str, object]) -> str:
    return f"print({json.dumps(json.dumps({'dependencies': found}))})"


@pytest.mark.parametrize("release", ["", "1"])
@pytest.mark.parametrize(
    ("tool", "status", "release_status", "said"),
    [
        (says(CLEAN, SKIPPED), 0, 0, "1 packages audited, 1 unknown"),
        (says(CLEAN, BAD), 1, 1, "h2 1: PYSEC-1, mended in 2"),
        (says(SKIPPED), 0, 1, "NOTHING WAS AUDITED"),
        (AWAY, 0, 1, "NOTHING WAS AUDITED: requests.ConnectionError"),
    ],
)
def test_an_unaudited_requirement_is_named_and_stops_a_release(
    tmp_path: Path, tool: str, status: int, release_status: int, said: str, release: str
) -> None:
    """The check names its findings, repeats them at the end of the log, and names no host."""
    (tmp_path / "pip_audit.py").write_text(tool + "\n")
    kept = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, str(AUDIT), str(kept)],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "LINKPOOL_RELEASE": release},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (release_status if release else status)
    assert said in done.stdout
    assert kept.read_text() == done.stdout
    assert "to a host" not in done.stdout
