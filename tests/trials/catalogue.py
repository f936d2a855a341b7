"""All trials, in the order of their numbers."""

from __future__ import annotations

from tests.trials import chaos, claims, crashes, failover, promises
from tests.trials.harness.trial import Trial

TRIALS: list[Trial] = sorted(
    [*claims.TRIALS, *crashes.TRIALS, *failover.TRIALS, *promises.TRIALS, *chaos.TRIALS],
    key=lambda trial: (not trial.number.isdigit(), trial.number.zfill(5)),
)
