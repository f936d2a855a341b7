"""Trials 10 to 18, 21 and 23 to 27, in the size that a test suite has time for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.trials import (
    clocked,
    ledger_troubles,
    provider,
    redis_troubles,
    serving,
    workers,
)
from tests.trials.harness import clock
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial

TRIALS = [
    *redis_troubles.TRIALS,
    *workers.TRIALS,
    *provider.TRIALS,
    *ledger_troubles.TRIALS,
    *clocked.TRIALS,
    *serving.TRIALS,
]
SEED = 1
# A provider that fails is probed every second instead of every minute.
PATIENCE = {"PROBE_SECONDS": "1", "PROVIDER_TIMEOUT_SECONDS": "1"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    """One stage for all trials that need nothing special."""
    with Stage(seed=SEED, **PATIENCE) as stage:
        stage.start_servers(2)
        stage.start_sandbox()
        stage.start_worker()
        yield stage


def run(trial: Trial, stage: Stage) -> Outcome:
    began = time.monotonic()
    outcome = trial.run(stage, SEED, trial.bounded)
    return replace(outcome, seconds=time.monotonic() - began)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.number}-{trial.title}")
def test_no_promise_is_broken(trial: Trial, request: pytest.FixtureRequest) -> None:
    """What HTTP answered agrees with ledger, provider and pools, whatever was done to them."""
    if trial in clocked.TRIALS and clock.compiler() is None:
        pytest.skip("it takes a C compiler")
    if trial.settings is None:
        outcome = run(trial, request.getfixturevalue("shared"))
    else:
        with Stage(seed=SEED, **trial.settings) as stage:
            stage.start_servers(trial.servers)
            outcome = run(trial, stage)
    print(outcome.line())
    assert outcome.passed, outcome.complaints()
