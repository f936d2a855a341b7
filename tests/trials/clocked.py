"""Run trials 16 and 25: an hour that passes in a moment, forwards and backwards.

Redis, API, worker and beat run by one clock of their own, which is set while they run.
"""

from __future__ import annotations

import time

from pool.model.meetings import Meeting
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import ClockedStage, clocked

HOUR_SECONDS = 3_600
TARGET = 30


def provider_gone(stage: ClockedStage, seed: int, size: int) -> Outcome:
    """16: the provider is gone for `size` hours, which pass in a moment each.

    Claims go on until the pool is empty, and are then refused by a typed error; the provider
    is probed, not hammered; once it is back the pool is filled by itself.
    """
    clock = stage.clock
    clock.set(0)
    sid = stage.open(
        Meeting(f"trial-16-{seed}", min_fresh=TARGET, max_fresh=TARGET, cover_seconds=0)
    )
    until(lambda: stage.level(sid) >= TARGET, 60, "the pool is filled")
    tape = Tape()
    stage.provider_line.refuse()
    attempts = stage.provider_line.accepted
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=4, again=0.3,
        persist=False, pause_seconds=0.02,
    )  # fmt: skip
    crowd.start()
    try:
        crowd.until(lambda: tape.refusals["503 pool-empty"] >= 20, 60)
        before = set(tape.refusals)
        for _ in range(size - 1):
            clock.set(clock.number + HOUR_SECONDS)
            time.sleep(1.0)
        stage.provider_line.calm()
        clock.set(clock.number + HOUR_SECONDS)
        since = time.monotonic()
        until(lambda: stage.level(sid) >= TARGET // 2, 60, "topped up by itself")
        back = time.monotonic() - since
    finally:
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    served = len({claim.slug for claim in tape.claims})
    if served < TARGET:
        wrong.append(f"{served} customers were served of a pool of {TARGET}")
    if before | set(tape.refusals) != {"503 pool-empty"}:
        wrong.append(f"refused otherwise: {dict(tape.refusals)}")
    notes = f"{served} served, back after {back:.1f} s"
    assert stage.provider_line.accepted >= attempts
    return Outcome("16", seed, crowd.asked, size, verdict.violations, tuple(wrong), notes=notes)


def clocks_set(stage: ClockedStage, seed: int, size: int) -> Outcome:
    """25: all clocks are set forward by an hour, back by two, and forward again, under load.

    Claims go on, links are made, claims are recorded, and a provider that said 429 is asked
    again as soon as before.
    """
    clock = stage.clock
    clock.set(0)
    sid = stage.open(
        Meeting(
            f"trial-25-{seed}", min_fresh=TARGET, max_fresh=200, cover_seconds=5, on_empty="fail"
        )
    )
    until(lambda: stage.level(sid) >= TARGET, 60, "the pool is filled")
    tape = Tape()
    wrong: list[str] = []
    slowest = 0.0
    jumps = [HOUR_SECONDS, -HOUR_SECONDS, 0] * size
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=2, again=0.3,
        pause_seconds=0.1,
    )  # fmt: skip
    crowd.start()
    try:
        for ahead in jumps:
            # What is pending at the moment of the jump: a 429's rest, a block's probe.
            stage.knobs(p_429=0.5)
            time.sleep(0.6)
            clock.set(ahead)
            stage.knobs(p_429=0.0)
            made = len(stage.control("GET", "links", params={"meeting_sid": sid})["links"])
            since = time.monotonic()
            stage.redis.zpopmin(f"lp:{{{sid}}}:fresh", 5)
            links = f"links are made by a clock {ahead:+d} s from the true one"
            until(
                lambda made=made: (
                    len(  # type: ignore[misc]
                        stage.control("GET", "links", params={"meeting_sid": sid})["links"]
                    )
                    > made
                ),
                30,
                links,
            )
            until(lambda: stage.redis.xlen(f"lp:{{{sid}}}:claims") < 20, 30, "claims are recorded")
            until(lambda: stage.level(sid) >= TARGET, 30, "the pool is filled again")
            slowest = max(slowest, time.monotonic() - since)
    finally:
        crowd.stop()
    # Taken out by hand above: not lost by the product.
    verdict = check(stage.evidence(tape, sid))
    wrong += crowd.wrong
    if slowest > 30:
        wrong.append(f"healed only after {slowest:.1f} s")
    if set(tape.refusals) - {"503 pool-empty"}:
        wrong.append(f"refused: {dict(tape.refusals)}")
    notes = f"healed within {slowest:.1f} s of each jump; refused {dict(tape.refusals)}"
    return Outcome(
        "25", seed, crowd.asked, len(jumps), verdict.violations, tuple(wrong), notes=notes
    )


TRIALS = [
    Trial("16", "provider gone for an hour", provider_gone, full=3, bounded=1, stage=clocked),
    Trial("25", "clocks set by an hour", clocks_set, full=4, bounded=1, stage=clocked),
]
