"""Run trials 10 and 11: a Redis that is full, slow, or silent."""

from __future__ import annotations

import time

from pool.model.meetings import Meeting
from pool.store import key_names
from tests.trials.claims import static
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import whole

DEADLINE_SECONDS = 2.0  # of a claim, as the product is set by default
LATE_SECONDS = 1.0  # what a busy machine may add to it
TOP_UP_BACK_SECONDS = 60.0


def memory_full(stage: Stage, seed: int, size: int) -> Outcome:
    """10: Redis has no memory left, again and again; refusals are clean, nothing is torn."""
    links = 4_000
    sid = static(stage, "10", seed, links)
    tape = Tape()
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=20, again=0.3,
        pause_seconds=0.02,
    )  # fmt: skip
    crowd.start()
    try:
        for _ in range(size):
            before = tape.refusals.total()
            stage.redis.config_set("maxmemory", 1)
            try:
                crowd.until(lambda before=before: tape.refusals.total() > before + 20, 10)  # type: ignore[misc]
            finally:
                stage.redis.config_set("maxmemory", 0)
            served = crowd.answered
            crowd.until(lambda served=served: crowd.answered > served + 20, 10)  # type: ignore[misc]
    finally:
        stage.redis.config_set("maxmemory", 0)
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    odd = set(tape.refusals) - {"503 store-unavailable"}
    if odd:
        wrong.append(f"refused otherwise than by 503 store-unavailable: {sorted(odd)}")
    gone = links - stage.level(sid)
    bound = sum(1 for _ in stage.redis.scan_iter(key_names.binding(sid, "*"), count=5_000))
    recorded = stage.rows(
        "SELECT count(*) FROM links WHERE meeting_sid = ? AND customer_id IS NOT NULL", sid
    )[0][0]
    if not gone == bound == recorded:
        wrong.append(f"{gone} links left the pool, {bound} are bound, {recorded} recorded")
    notes = f"{tape.refusals.total():,} clean 503, {gone:,} links bound"
    return Outcome("10", seed, crowd.asked, size, verdict.violations, tuple(wrong), notes=notes)


def slow_or_silent(stage: Stage, seed: int, size: int) -> Outcome:
    """11: Redis takes 2 s, then says nothing at all for `size` seconds.

    Every claim is answered within its deadline. Connections that fell silent stay so for
    good, as they do behind a firewall that forgot them; top-up is back within a minute.
    """
    sid = stage.open(
        Meeting(f"trial-11-{seed}-{time.time_ns()}", min_fresh=30, cover_seconds=0, on_empty="fail")
    )
    until(lambda: stage.level(sid) >= 30, 30, "the pool is filled")
    tape = Tape()
    line = stage.redis_line
    assert line is not None
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=8, again=0.5,
        pause_seconds=0.2,
    )  # fmt: skip
    crowd.start()
    try:
        time.sleep(0.5)
        line.delay(1.0)  # each way
        time.sleep(size)
        line.delay(0.0)
        time.sleep(0.5)
        line.swallow()
        time.sleep(size)
        line.heal()
        healed_at = time.monotonic()
        served = crowd.answered
        crowd.until(lambda: crowd.answered > served + 5, 15)
        claims_back = time.monotonic() - healed_at
    finally:
        line.heal()
        crowd.stop()
    # Fresh stock after this moment can only come from a worker that works again.
    stage.redis.zpopmin(key_names.fresh(sid), 30)
    until(lambda: stage.level(sid) >= 20, TOP_UP_BACK_SECONDS, "top-up is back")
    top_up_back = time.monotonic() - healed_at
    line.calm()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    slowest = tape.slowest_seconds
    if slowest > DEADLINE_SECONDS + LATE_SECONDS:
        wrong.append(f"an answer took {slowest:.1f} s")
    odd = set(tape.refusals) - {"503 store-unavailable", "503 pool-empty"}
    if odd:
        wrong.append(f"refused otherwise: {sorted(odd)}")
    notes = (
        f"slowest answer {slowest:.2f} s; claims back after {claims_back:.1f} s, "
        f"top-up after {top_up_back:.1f} s"
    )
    return Outcome("11", seed, crowd.asked, 2, verdict.violations, tuple(wrong), notes=notes)


TRIALS = [
    Trial("10", "Redis out of memory", memory_full, full=50, bounded=3, stage=whole),
    Trial("11", "Redis slow, then half-open", slow_or_silent, full=30, bounded=3, stage=whole),
]
