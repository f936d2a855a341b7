"""Run trials 6, 7 and 9: Redis dies, returns with older data, or is emptied."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from pool.model.meetings import Meeting
from tests.trials.claims import static
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial

_WAIT_SECONDS = 60.0
_run = 0


def topped_up(stage: Stage, number: str, seed: int) -> str:
    """Open a meeting of this run alone that the worker keeps stocked. Return its SID."""
    global _run
    _run += 1
    return stage.open(Meeting(f"trial-{number}-{seed}-{_run}", min_fresh=150, max_fresh=400))


def crowd_of(stage: Stage, tape: Tape, sid: str, seed: int, *, pause_seconds: float = 0.1) -> Crowd:
    """Return customers who claim steadily, repeat a third of their claims, and do not give up."""
    return Crowd(
        tape,
        stage.server_ports,
        sid,
        stage.key,
        seed=seed,
        connections=40,
        again=0.3,
        pause_seconds=pause_seconds,
    )


def killed(stage: Stage, seed: int, size: int) -> Outcome:
    """6: Redis is killed under load, and has lost up to its last second when it is back."""
    return _crashes("6", stage, seed, size, forgets=(0.0, 1.0), every=(0.5, 2.0))


def rolled_back(stage: Stage, seed: int, size: int) -> Outcome:
    """7: Redis is killed under load and starts from a file that is 1 to 60 s old."""
    longest = 60.0 if size > 5 else 3.0
    every = (3.0, 12.0) if size > 5 else (1.0, 2.0)
    return _crashes("7", stage, seed, size, forgets=(1.0, longest), every=every)


def _crashes(
    number: str,
    stage: Stage,
    seed: int,
    size: int,
    *,
    forgets: tuple[float, float],
    every: tuple[float, float],
) -> Outcome:
    chance = random.Random(seed)
    sid = topped_up(stage, number, seed)
    tape, wrong, back = Tape(), [], []
    stage.forgotten_seconds = 0.0
    crowd = crowd_of(stage, tape, sid, seed).start()
    try:
        crowd.serves_after(time.time(), _WAIT_SECONDS)
        for _ in range(size):
            time.sleep(chance.uniform(*every))
            outage = stage.kill_redis(
                down_seconds=chance.uniform(0.0, 0.3), forget_seconds=chance.uniform(*forgets)
            )
            seconds = crowd.serves_after(outage.back_at, _WAIT_SECONDS)
            back.append(seconds)
            if seconds > stage.serving_seconds:
                wrong.append(f"served again only {seconds:.1f} s after Redis was back")
    finally:
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    median = sorted(back)[len(back) // 2]
    return Outcome(
        number,
        seed,
        verdict.claims,
        size,
        verdict.violations,
        (*wrong, *crowd.wrong),
        excused=verdict.excused,
        notes=f"forgot up to {stage.forgotten_seconds:.1f} s; "
        f"serving again after {median:.1f} s, {max(back):.1f} s at worst",
    )


def struck(
    stage: Stage,
    sid: str,
    seed: int,
    size: int,
    strike: Callable[[int], object],
    *,
    every: tuple[float, float],
) -> tuple[Tape, Crowd, list[float]]:
    """Have customers claim while `strike` makes the fence fall, `size` times.

    Return their answers, the customers, and the seconds after each strike until the next new link.
    """
    chance = random.Random(seed)
    tape, back = Tape(), []
    crowd = crowd_of(stage, tape, sid, seed).start()
    try:
        crowd.serves_after(time.time(), _WAIT_SECONDS)
        for number in range(size):
            time.sleep(chance.uniform(*every))
            strike(number)
            back.append(crowd.serves_after(time.time(), _WAIT_SECONDS))
    finally:
        crowd.stop()
    return tape, crowd, back


def emptied(stage: Stage, seed: int, size: int) -> Outcome:
    """9: FLUSHALL runs under load; then SCRIPT FLUSH every 100 ms, which claims survive
    unnoticed.
    """
    flushes = 10 * size
    quiet = static(stage, "9", seed, 50 * flushes)
    calm = Tape()
    crowd = crowd_of(stage, calm, quiet, seed).start()
    try:
        for _ in range(flushes):
            stage.redis.script_flush()
            time.sleep(0.1)
    finally:
        crowd.stop()
    wrong = [*crowd.wrong]
    if calm.refusals:
        wrong.append(f"SCRIPT FLUSH was noticed: {dict(calm.refusals)}")
    calm_verdict = check(stage.evidence(calm, quiet))

    sid = topped_up(stage, "9", seed)
    tape, crowd, back = struck(
        stage, sid, seed, size, lambda _: stage.redis.flushall(), every=(0.5, 1.5)
    )
    verdict = check(stage.evidence(tape, sid))
    return Outcome(
        "9",
        seed,
        calm_verdict.claims + verdict.claims,
        flushes + size,
        (*calm_verdict.violations, *verdict.violations),
        (*wrong, *crowd.wrong),
        notes=f"{flushes} SCRIPT FLUSH, {size} FLUSHALL; "
        f"serving again after {max(back):.1f} s at worst",
    )


TRIALS = [
    Trial("6", "Redis killed under load, its last second lost", killed, full=50, bounded=2),
    Trial("7", "Redis back with an old file", rolled_back, full=20, bounded=2),
    Trial("9", "FLUSHALL; SCRIPT FLUSH every 100 ms", emptied, full=20, bounded=1),
]
