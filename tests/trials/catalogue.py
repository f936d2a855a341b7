"""List all trials by number, except that trials on the same stage stand together."""

from __future__ import annotations

from tests.trials import (
    chaos,
    claims,
    clocked,
    crashes,
    failover,
    inputs,
    ledger_troubles,
    machine,
    moves,
    promises,
    provider,
    rabbit,
    redis_troubles,
    serving,
    shards,
    signatures,
    soak,
    workers,
)
from tests.trials.harness.trial import Trial

TRIALS: list[Trial] = sorted(
    [
        *claims.TRIALS,
        *crashes.TRIALS,
        *failover.TRIALS,
        *redis_troubles.TRIALS,
        *workers.TRIALS,
        *provider.TRIALS,
        *ledger_troubles.TRIALS,
        *clocked.TRIALS,
        *serving.TRIALS,
        *soak.TRIALS,
        *machine.TRIALS,
        *moves.TRIALS,
        *shards.TRIALS,
        *signatures.TRIALS,
        *inputs.TRIALS,
        *promises.TRIALS,
        *chaos.TRIALS,
        *rabbit.TRIALS,
    ],
    key=lambda trial: (not trial.number.isdigit(), trial.number.zfill(5)),
)
_stages = list(dict.fromkeys(trial.stage for trial in TRIALS))
TRIALS.sort(key=lambda trial: _stages.index(trial.stage))
