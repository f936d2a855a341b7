"""Run trials 15 and 16: a provider that misbehaves in every way, and one that is gone."""

from __future__ import annotations

import random
import time
from typing import Any

from pool.model.meetings import Meeting
from pool.store import key_names
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import PROBE_SECONDS, whole

TARGET = 20
CONCURRENCY = 16
FEW_SECONDS = 5
FAILURES_TO_BLOCK = 8
LONG_SECONDS = 10  # from which on the asking must have ended
FINDING_CALLS = 40  # more, to find out that a provider which says 429 takes no pace at all

# What the provider does, and whether it then is to be probed rather than asked: a provider
# that says 429 is asked at the pace that the budget finds.
MISBEHAVIOUR: dict[str, dict[str, Any]] = {
    "429, no Retry-After": {"p_429": 1.0},
    "429, Retry-After 5": {"p_429": 1.0, "limit_retry_after": "5"},
    "429, Retry-After -1": {"p_429": 1.0, "limit_retry_after": "-1"},
    "429, Retry-After 1e9": {"p_429": 1.0, "limit_retry_after": "1e9"},
    "429, Retry-After a date": {"p_429": 1.0, "limit_retry_after": "date+3"},
    "500": {"p_500": 1.0},
    "HTML": {"p_html": 1.0},
    "nothing": {"p_empty": 1.0},
    "10 MB": {"p_huge": 1.0},
    "the same slug again": {"p_duplicate": 1.0},
    "slugs with bad characters": {"p_bad_slug": 1.0},
    "a redirect": {"p_redirect": 1.0},
    "no answer": {"p_hang": 1.0, "hang_seconds": 30.0},
    "lost answers": {"p_lost": 1.0},
    "401": {"fail_status": 401},
    "404": {"fail_status": 404},
}
_CALM = {
    "p_429": 0.0, "p_500": 0.0, "p_html": 0.0, "p_empty": 0.0, "p_huge": 0.0, "p_duplicate": 0.0,
    "p_bad_slug": 0.0, "p_redirect": 0.0, "p_hang": 0.0, "p_lost": 0.0, "fail_status": 0,
    "limit_retry_after": "",
}  # fmt: skip


def misbehaving_provider(stage: Stage, seed: int, size: int) -> Outcome:
    """15: the provider misbehaves in every way in turn, for `size` seconds each, while customers
    claim.

    With less than FEW_SECONDS there are three ways, which the seed chooses. No bad link ever
    reaches a pool; the provider is probed and not hammered; customers of a pool with stock notice
    nothing; afterwards the pool is filled without manual help.
    """
    chosen = list(MISBEHAVIOUR)
    if size < FEW_SECONDS:
        chosen = random.Random(seed).sample(chosen, 3)
    run = f"{seed}-{time.time_ns()}"
    stocked = stage.open(
        Meeting(f"trial-15-stock-{run}", min_fresh=0, max_fresh=1, cover_seconds=0), 4_000
    )
    sid = stage.open(
        Meeting(
            f"trial-15-{run}", min_fresh=TARGET, max_fresh=TARGET, cover_seconds=0, on_empty="fail"
        )
    )
    until(lambda: stage.level(sid) >= TARGET, 60, "the pool is filled")
    tape, own = Tape(), Tape()
    crowd = Crowd(
        tape, stage.server_ports, stocked, stage.key, seed=seed, connections=2, again=0.9,
        pause_seconds=0.05,
    )  # fmt: skip
    wrong: list[str] = []
    counts: list[str] = []
    slowest = (0.0, "")
    crowd.start()
    try:
        for number, name in enumerate(chosen):
            knobs = MISBEHAVIOUR[name]
            stage.knobs(**knobs)
            began_at, known = time.time(), _links(stage, sid)
            # The pool is emptied by customers, so that links are wanted.
            Crowd(
                own, stage.server_ports, sid, stage.key, seed=seed, connections=5, total=TARGET,
                again=0.0, persist=False, name=f"{run}-{number}",
            ).run(30)  # fmt: skip
            time.sleep(size)
            made = [at for at in stage.calls() if at >= began_at]
            calls, lasted = len(made), time.time() - began_at
            # A slug that is repeated may be one whose first answer could not be read: a new one.
            # With it the block is over, until as many failures as before.
            good = FAILURES_TO_BLOCK * (_links(stage, sid) - known)
            # Failures that were needed to see it, those under way by then, and its probes.
            allowed = FAILURES_TO_BLOCK + 2 * CONCURRENCY + lasted / PROBE_SECONDS + 1 + good
            allowed += FINDING_CALLS if "429" in name else 0
            if calls > allowed:
                wrong.append(f"{name}: {calls} calls in {lasted:.1f} s, {allowed:.0f} allowed")
            late = sum(at > began_at + lasted / 2 for at in made)
            if lasted > LONG_SECONDS and late > lasted / 2 / PROBE_SECONDS + 2 + good:
                wrong.append(f"{name}: still {late} calls in the last {lasted / 2:.0f} s")
            counts.append(f"{name}: {calls}")
            stage.knobs(**_CALM)
            # What a Retry-After asked for, ten minutes at most, is not waited out here.
            if "Retry-After" in name:
                stage.redis.hset(key_names.budget("default"), "next_at", 0)
            since = time.monotonic()
            until(lambda: stage.level(sid) >= TARGET, 60, f"filled again after {name}")
            slowest = max(slowest, (time.monotonic() - since, name))
    finally:
        stage.knobs(**_CALM)
        crowd.stop()
    wrong += crowd.wrong
    if tape.refusals:
        wrong.append(f"customers of a full pool were refused: {dict(tape.refusals)}")
    odd = set(own.refusals) - {"503 pool-empty"}
    if odd:
        wrong.append(f"refused otherwise: {sorted(odd)}")
    first = check(stage.evidence(tape, stocked))
    second = check(stage.evidence(own, sid))
    notes = f"filled again within {slowest[0]:.1f} s ({slowest[1]}); calls: " + ", ".join(counts)
    return Outcome(
        "15", seed, crowd.asked, len(chosen),
        (*first.violations, *second.violations), tuple(wrong), notes=notes,
    )  # fmt: skip


def _links(stage: Stage, sid: str) -> int:
    """Return the number of the meeting's links that the ledger knows."""
    [(count,)] = stage.rows("SELECT count(*) FROM links WHERE meeting_sid = ?", sid)
    return int(count)


TRIALS = [
    Trial(
        "15",
        "every misbehaviour of the provider",
        misbehaving_provider,
        full=38,
        bounded=1,
        stage=whole,
    ),
]
