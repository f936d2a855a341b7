"""Trials 19 and 20, as far as a test suite has time for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trials import inputs, signatures
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Trial


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Redis, a ledger and one API process."""
    with Stage(proxied=False) as stage:
        stage.start_servers(1)
        yield stage


@pytest.mark.parametrize("trial", signatures.TRIALS + inputs.TRIALS, ids=lambda trial: trial.title)
def test_the_door_lets_in_exactly_what_it_should(stage: Stage, trial: Trial) -> None:
    """Signatures, odd inputs and slow clients get the answers that the contract names."""
    outcome = trial.run(stage, 1, trial.bounded)
    assert outcome.passed, outcome.complaints()
