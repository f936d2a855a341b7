"""Run trials 1 to 5: many claimers, lost replies and customers who leave."""

from __future__ import annotations

from pool.model.meetings import Meeting
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial

_SECONDS = 600.0
_run = 0


def static(stage: Stage, number: str, seed: int, links: int) -> str:
    """Open a meeting of this run alone whose pool nobody tops up. Return its SID."""
    global _run
    _run += 1
    meeting = Meeting(
        f"trial-{number}-{seed}-{_run}", min_fresh=0, max_fresh=1, cover_seconds=0, on_empty="fail"
    )
    return stage.open(meeting, links)


def many_claimers(stage: Stage, seed: int, size: int) -> Outcome:
    """1: 200 concurrent claimers take every link of a pool, and no link is taken twice."""
    sid = static(stage, "1", seed, size)
    tape = Tape()
    crowd = Crowd(tape, stage.server_ports, sid, stage.key, seed=seed, connections=200, total=size)
    crowd.run(_SECONDS)
    verdict = check(stage.evidence(tape, sid))
    given = {claim.slug for claim in tape.claims}
    wrong = list(crowd.wrong)
    if len(given) != size:
        wrong.append(f"{size} customers got {len(given)} links")
    notes = f"{sum(tape.refusals.values())} told to come again"
    return Outcome("1", seed, crowd.answered, 0, verdict.violations, tuple(wrong), notes=notes)


def one_customer(stage: Stage, seed: int, size: int) -> Outcome:
    """2: one customer claims from everywhere at once, and has one link."""
    sid = static(stage, "2", seed, 50)
    tape = Tape()
    crowd = Crowd(
        tape,
        stage.server_ports,
        sid,
        stage.key,
        seed=seed,
        connections=size,
        total=size,
        again=0.0,
        everybody="the-one",
    )
    crowd.run(_SECONDS)
    verdict = check(stage.evidence(tape, sid))
    given = {claim.slug for claim in tape.claims}
    new = [claim for claim in tape.claims if not claim.reused]
    wrong = list(crowd.wrong)
    if len(given) != 1 or len(tape.claims) != size or len(new) != 1:
        wrong.append(
            f"{len(tape.claims)} of {size} answers, {len(new)} of them new, {len(given)} links"
        )
    if stage.level(sid) != 49:
        wrong.append(f"{50 - stage.level(sid)} links left the pool")
    return Outcome("2", seed, len(tape.claims), 0, verdict.violations, tuple(wrong))


def last_link(stage: Stage, seed: int, size: int) -> Outcome:
    """3: a crowd wants one link while the provider is down: one is served, the others get
    errors.
    """
    sid = static(stage, "3", seed, 0)
    # A link on demand is asked for, and there is no provider to make it.
    stage.open(Meeting(sid, min_fresh=0, max_fresh=1, cover_seconds=0, on_empty="direct"), 1)
    stage.provider_line.refuse()
    tape = Tape()
    try:
        crowd = Crowd(
            tape,
            stage.server_ports,
            sid,
            stage.key,
            seed=seed,
            connections=min(size, 200),
            total=size,
            again=0.0,
            persist=False,
        )
        crowd.run(_SECONDS)
    finally:
        stage.provider_line.calm()
    # As an operator would who knows that the provider is back; the next probe is a minute away.
    stage.work(lambda parts: parts.store.blocks.put_workspace("default", None))
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    if len(tape.claims) != 1 or tape.refusals != {"503 pool-empty": size - 1}:
        wrong.append(f"{len(tape.claims)} served, refused: {dict(tape.refusals)}")
    notes = f"slowest answer {tape.slowest_seconds:.1f} s"
    return Outcome("3", seed, size, size - 1, verdict.violations, tuple(wrong), notes=notes)


def leavers(stage: Stage, seed: int, size: int) -> Outcome:
    """4: customers hang up while they wait, and nobody else gets their answer."""
    sid = static(stage, "4", seed, 3 * size)
    tape = Tape()
    # Slow enough that most who leave leave before their answer.
    line = stage.redis_line
    assert line is not None
    line.delay(0.002)
    crowd = Crowd(
        tape,
        stage.server_ports,
        sid,
        stage.key,
        seed=seed,
        connections=100,
        total=size,
        again=0.2,
        hang_up=0.6,
        hang_ups=size,
    )
    try:
        crowd.run(_SECONDS)
    finally:
        line.calm()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    if crowd.hung_up < size:
        wrong.append(f"only {crowd.hung_up} left")
    left = 3 * size - stage.level(sid)
    customers = len({claim.customer for claim in tape.claims})
    if left != customers:
        wrong.append(f"{left} links left the pool for {customers} customers")
    return Outcome("4", seed, crowd.asked, crowd.hung_up, verdict.violations, tuple(wrong))


def lost_replies(stage: Stage, seed: int, size: int) -> Outcome:
    """5: Redis serves a claim, the reply is lost, and no second link is used."""
    links = 20 * size
    sid = static(stage, "5", seed, links)
    tape = Tape()
    line = stage.redis_line
    assert line is not None
    before = line.cut
    # By chance, and only claims: the script's call names the meeting's epoch key first.
    line.cut_replies(chance=0.3, matching=f"lp:{{{sid}}}:epoch".encode())
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=20, total=None, again=0.1
    )
    crowd.start()
    try:
        crowd.until(lambda: line.cut - before >= size, _SECONDS)
    finally:
        line.calm()
        crowd.stop()
    cut = line.cut - before
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    used, customers = links - stage.level(sid), len({claim.customer for claim in tape.claims})
    if used != customers:
        wrong.append(f"{used} links used for {customers} customers")
    notes = f"{customers:,} customers, {used:,} links used"
    return Outcome("5", seed, crowd.asked, cut, verdict.violations, tuple(wrong), notes=notes)


TRIALS = [
    Trial("1", "200 claimers at once", many_claimers, full=10_000, bounded=2_000),
    Trial("2", "one customer, many at once", one_customer, full=500, bounded=500),
    Trial("3", "one link left, provider down", last_link, full=1_000, bounded=1_000),
    Trial("4", "disconnects in mid-claim", leavers, full=10_000, bounded=500),
    Trial("5", "replies lost after the script ran", lost_replies, full=1_000, bounded=50),
]
