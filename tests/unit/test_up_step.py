"""Test the steps of `linkpool up` that need the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pool.cli import up_step
from pool.config.settings import load
from pool.up.data_dir import ENVIRONMENT, DataDirectory
from pool.up.run import StepFailed


def test_a_step_that_fails_says_why_and_how(tmp_path: Path) -> None:
    """The one line that the other process writes, and its exit code."""
    data = DataDirectory(tmp_path / "data")
    ours = {"LINKPOOL_REDIS_URL": "redis://127.0.0.1:1/0", "LINKPOOL_DATABASE_URL": "nonsense://x"}
    ours |= {"LINKPOOL_DATA_DIR": str(data.path), "LINKPOOL_SECRET_KEY": "k" * 10 + "f8h3Zq9W" * 4}
    data.write(ENVIRONMENT, json.dumps(ours))
    with pytest.raises(StepFailed, match="LINKPOOL_DATABASE_URL") as failed:
        up_step.prepare(load({"LINKPOOL_DATA_DIR": str(data.path)}), ["demo"])
    assert failed.value.code == 2
