"""Run every trial in a size for the test suite; `python -m tests.trials` runs larger ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.trials.catalogue import TRIALS
from tests.trials.harness.kinds import chosen
from tests.trials.harness.lacking import Lacking
from tests.trials.harness.trial import Trial

SEED = 1


@pytest.fixture(scope="module")
def stage_of(pytestconfig: pytest.Config) -> Iterator[Callable[[Trial], Any]]:
    """Return the stage of a trial, which the next trial on the same stage finds running."""
    if pytestconfig.getoption("--ledger") == "postgresql":
        chosen.database = "plain-postgresql"
    with ExitStack() as open_stage:
        standing: dict[Any, Any] = {}

        def get(trial: Trial) -> Any:
            if trial.stage not in standing:
                open_stage.close()
                standing.clear()
                try:
                    standing[trial.stage] = open_stage.enter_context(trial.stage(SEED))
                except Lacking as what:
                    if os.environ.get("CI"):
                        raise
                    pytest.skip(f"this machine lacks {what}")
            return standing[trial.stage]

        yield get


@pytest.mark.parametrize(
    "trial", [pytest.param(trial, id=trial.number) for trial in TRIALS if trial.bounded]
)
def test_trial(trial: Trial, stage_of: Callable[[Trial], Any]) -> None:
    """The promises are kept, and the trial did what its table row says."""
    outcome = trial.on(stage_of(trial), SEED, trial.bounded)
    print(f"\n  {outcome.line()}")
    assert outcome.operations > 0
    assert outcome.passed, outcome.complaints()
