"""Run trial 8: two Redis, three Sentinels, partitions and quick fail-backs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.trials.crashes import crowd_of, topped_up
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import Kind, check
from tests.trials.harness.sentinels import SentinelStage
from tests.trials.harness.trial import Outcome, Trial

_WAIT_SECONDS = 60.0


@contextmanager
def watched(seed: int) -> Iterator[SentinelStage]:
    """Set up two Redis, three Sentinels, two API servers, a provider, a worker and a beat."""
    with SentinelStage(seed=seed) as stage:
        stage.start_servers(2)
        stage.start_sandbox()
        stage.start_worker()
        yield stage


def failovers(stage: SentinelStage, seed: int, size: int) -> Outcome:
    """8: both sides of a partition have a master with clients, and then masters swap twice.

    A partition leaves two masters that both serve clients. After the two quick failovers the first
    master is master again, with its old run_id.
    """
    chance = random.Random(seed)
    sid = topped_up(stage, "8", seed)
    tape, back = Tape(), []
    # While Sentinels make up their minds, half a minute, nothing happens but claims.
    crowd = crowd_of(stage, tape, sid, seed, pause_seconds=0.3).start()
    try:
        crowd.serves_after(time.time(), _WAIT_SECONDS)
        for _ in range(size):
            time.sleep(chance.uniform(0.3, 1.0))
            stage.partition(chance.uniform(0.5, 3.0))
            back.append(crowd.serves_after(time.time(), _WAIT_SECONDS))
            time.sleep(chance.uniform(0.3, 1.0))
            stage.fail_over()
            stage.fail_over()
            back.append(crowd.serves_after(time.time(), _WAIT_SECONDS))
    finally:
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    # Two masters cannot know of each other: whoever asks both gets a link of each.
    torn = [found for found in verdict.violations if found.kind is Kind.TWO_LINKS]
    rest = tuple(found for found in verdict.violations if found.kind is not Kind.TWO_LINKS)
    return Outcome(
        "8",
        seed,
        verdict.claims,
        2 * size,
        rest,
        tuple(crowd.wrong),
        notes=f"{size} partitions, {size} fail-backs; serving again after "
        f"{sorted(back)[len(back) // 2]:.1f} s, {max(back):.1f} s at worst; "
        f"{len(torn)} customers got a link of each master",
    )


TRIALS = [
    Trial("8", "Sentinel: partition; quick fail-back", failovers, 20, 1, stage=watched),
]
