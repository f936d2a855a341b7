"""Run the trial of a Redis Cluster: a meeting moves between its masters under load."""

from __future__ import annotations

import time

from tests.trials.crashes import struck, topped_up
from tests.trials.harness.checker import Outage, check
from tests.trials.harness.clusters import ClusterStage, on_cluster
from tests.trials.harness.trial import Outcome, Trial


def moved(stage: ClusterStage, seed: int, size: int) -> Outcome:
    """moves: the meeting's slot goes from master to master; now and then a replica takes over."""
    sid = topped_up(stage, "moves", seed)

    def strike(number: int) -> None:
        began_at = time.time()
        if number % 4 == 3:
            stage.promote()
        else:
            stage.move()
        # What was answered just before is asserted again some time after the fence stands.
        stage.outages.append(Outage(began_at, time.time()))

    tape, crowd, back = struck(stage, sid, seed, size, strike, every=(0.3, 1.5))
    verdict = check(stage.evidence(tape, sid))
    return Outcome(
        "moves",
        seed,
        verdict.claims,
        size,
        verdict.violations,
        tuple(crowd.wrong),
        excused=verdict.excused,
        notes=f"serving again after {sorted(back)[len(back) // 2]:.1f} s, {max(back):.1f} s at "
        f"worst; refused meanwhile: {dict(tape.refusals)}",
    )


# Not in the suite, where tests/integration/test_redis_cluster.py moves a slot.
TRIALS = [
    Trial("moves", "Cluster: slots and masters move", moved, 20, 0, stage=on_cluster),
]
