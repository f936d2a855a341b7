"""Run trial 22: the state machine of the promises, over any number of sequences."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.trials.harness.kinds import chosen
from tests.trials.harness.trial import Outcome, Trial

_TEST = Path(__file__).parent / "test_promises.py"


@contextmanager
def nothing(_seed: int) -> Iterator[None]:
    """Set up nothing: the test starts what it needs."""
    yield


def sequences(_stage: None, seed: int, size: int) -> Outcome:
    """22: claim, top up, book, cancel, expire, pause, crash and roll back, in any order."""
    ledger = "sqlite" if chosen.database == "sqlite" else "postgresql"
    options = [f"--hypothesis-seed={seed}", "--ledger", ledger]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(_TEST), *options],
        env=os.environ | {"LINKPOOL_HYPOTHESIS_EXAMPLES": str(size)},
        capture_output=True,
        text=True,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    wrong = () if done.returncode == 0 and passed else (done.stdout[-3000:],)
    return Outcome("22", seed, size, 0, wrong=wrong, notes=f"{size} sequences")


# Not in the suite by this way: the suite runs the test itself.
TRIALS = [
    Trial("22", "promises in any order", sequences, full=2_000, bounded=0, stage=nothing),
]
