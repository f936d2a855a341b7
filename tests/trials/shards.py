"""Run the trial of a meeting that is spread over shards: their number changes under load."""

from __future__ import annotations

import random
import time

from redis.exceptions import RedisError

from pool.compose import Parts
from pool.model.meetings import Meeting
from pool.operations.administration import Administration
from pool.store import key_names
from tests.trials.crashes import crowd_of
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.clusters import ClusterStage, on_cluster
from tests.trials.harness.trial import Outcome, Trial

_WAIT_SECONDS = 60.0
_NUMBERS = (1, 2, 3, 6, 12)
_run = 0


def spread(stage: ClusterStage, seed: int, size: int) -> Outcome:
    """shards: their number changes again and again, at times before the last change is through,
    and masters with some of the pools die, at times in the middle of one.
    """
    global _run
    _run += 1
    chance, shards = random.Random(seed), 6
    name = f"trial-shards-{seed}-{_run}"
    sid = stage.open(Meeting(name, min_fresh=150, max_fresh=400, shards=shards))
    tape, back, kills = Tape(), [], 0
    crowd = crowd_of(stage, tape, sid, seed).start()
    try:
        crowd.serves_after(time.time(), _WAIT_SECONDS)
        for number in range(size):
            time.sleep(chance.uniform(0.3, 1.5))
            shards = chance.choice([each for each in _NUMBERS if each != shards])
            changed_at = time.time()
            _change(stage, sid, shards)
            if number % 2:
                time.sleep(chance.uniform(0.0, 1.5))
                stage.aim(chance.choice(stage.pools_of(sid)))
                stage.kill_redis()
                kills += 1
            if number % 3 or number == size - 1:
                crowd.until(lambda: _are_open(stage, sid), _WAIT_SECONDS)
                crowd.serves_after(time.time(), _WAIT_SECONDS)
                back.append(time.time() - changed_at)
    finally:
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    return Outcome(
        "shards",
        seed,
        verdict.claims,
        size + kills,
        verdict.violations,
        tuple(crowd.wrong),
        excused=verdict.excused,
        notes=f"{size} changes, {kills} masters died; all shards serve again after "
        f"{sorted(back)[len(back) // 2]:.1f} s, {max(back):.1f} s at worst; "
        f"refused meanwhile: {dict(tape.refusals)}",
    )


def _are_open(stage: ClusterStage, sid: str) -> bool:
    """Return True if every pool of the meeting is open, as it has shards now."""
    try:
        return all(stage.redis.exists(key_names.epoch(pool)) for pool in stage.pools_of(sid))
    except RedisError:
        return False  # a master is away


def _change(stage: ClusterStage, sid: str, shards: int) -> None:
    """Change the number as an operator does."""

    async def put(parts: Parts) -> None:
        administration = Administration(
            parts.store, parts.ledger, parts.erasure, parts.recovery, parts.settings
        )
        await administration.put(sid, {"shards": shards}, "trial")

    stage.work(put)


# Not in the suite, where tests/integration/test_redis_cluster.py changes the number under load.
TRIALS = [
    Trial("shards", "Cluster: shards change, masters die", spread, 20, 0, stage=on_cluster),
]
