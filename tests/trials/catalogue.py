"""All trials, in the order of their numbers, but those on the same stage together."""

from __future__ import annotations

from tests.trials import (
    claims,
    clocked,
    crashes,
    inputs,
    ledger_troubles,
    machine,
    promises,
    provider,
    redis_troubles,
    serving,
    signatures,
    soak,
    workers,
)
from tests.trials.harness.trial import Trial

TRIALS: list[Trial] = sorted(
    [
        *claims.TRIALS,
        *crashes.TRIALS,
        *redis_troubles.TRIALS,
        *workers.TRIALS,
        *provider.TRIALS,
        *ledger_troubles.TRIALS,
        *clocked.TRIALS,
        *serving.TRIALS,
        *soak.TRIALS,
        *machine.TRIALS,
        *signatures.TRIALS,
        *inputs.TRIALS,
        *promises.TRIALS,
    ],
    key=lambda trial: (not trial.number.isdigit(), trial.number.zfill(5)),
)
_stages = list(dict.fromkeys(trial.stage for trial in TRIALS))
TRIALS.sort(key=lambda trial: _stages.index(trial.stage))
