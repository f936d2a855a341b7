"""Run trials 12 to 14: workers that die, a broker that forgets, and too many of everything."""

from __future__ import annotations

import random
import signal
import time
from datetime import UTC, datetime, timedelta

from celery import Celery

from bench.processes import PYTHON, Process
from pool.compose import Parts
from pool.config.addresses import broker_url
from pool.model.meetings import Meeting
from pool.nudges import (
    EXPIRE,
    LAPSE,
    QUEUE,
    RECORD,
    RECOVER,
    SWEEP,
    TOP_UP,
    broker,
)
from pool.store import key_names
from tests.trials.dying_worker import STEPS
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import Budget, check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage, signal_all
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import whole, without_worker
from tests.warm_parts import WarmProcess
from worker.expire import quarantine_astray

UNACKED = ("lp:broker:unacked", "lp:broker:unacked_index")
CONCURRENCY = 16  # calls of a worker to the provider at once, by default


def dying_workers(stage: Stage, seed: int, size: int) -> Outcome:
    """12: a worker is killed at a step of top-up, and the next one at another.

    At most the links whose calls were under way are lost; links that were written and did not reach
    the pool are set aside, and nobody gets a link twice.
    """
    target = 60 * size
    sid = stage.open(
        Meeting(
            f"trial-12-{seed}", min_fresh=target, max_fresh=target, cover_seconds=0,
            on_empty="fail",
        )
    )  # fmt: skip
    chance = random.Random(seed)
    environ = stage.environ("worker", WORKER_CONCURRENCY=1)
    beat = WarmProcess(["worker", "beat"], stage.log("beat"), environ=environ)
    died: list[str] = []
    with beat:
        for number in range(size):
            step = STEPS[number % len(STEPS)]
            # What a dead worker held expires in 15 s; here the next one need not wait.
            stage.redis.delete(key_names.top_up_lock("default"), key_names.task_lock("sweep"))
            command = [PYTHON, "-m", "tests.trials.dying_worker", step]
            worker = Process(
                [*command, str(chance.randrange(1, 5))], stage.log("dying"), environ=environ
            )
            worker.start()
            try:
                until(lambda worker=worker: not worker.alive, 30, f"died {step}")  # type: ignore[misc]
            finally:
                worker.stop(signal.SIGKILL)
            died.append(step)
        stage.redis.delete(key_names.top_up_lock("default"))
        stage.start_worker()
        until(lambda: stage.level(sid) >= target, 120, "the next worker fills the pool")
    # What `expire` does a minute later.
    later = datetime.now(UTC) + timedelta(minutes=2)

    async def set_aside(parts: Parts) -> int:
        return await quarantine_astray(parts, sid, later)

    astray = stage.work(set_aside)
    stage.saw_stock(sid, target)
    made = {
        link["slug"] for link in stage.control("GET", "links", params={"meeting_sid": sid})["links"]
    }
    known = {slug for (slug,) in stage.rows("SELECT slug FROM links WHERE meeting_sid = ?", sid)}
    lost = len(made - known)
    tape = Tape()
    Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=50, total=target, again=0.1
    ).run(60)
    verdict = check(stage.evidence(tape, sid))
    wrong = []
    if lost > CONCURRENCY * size:
        wrong.append(f"{lost} links lost by {size} deaths with {CONCURRENCY} calls each")
    if len(made) != len(known) + lost:
        wrong.append("the ledger knows links that the provider never made")
    notes = f"{lost} links lost, {astray} set aside, of {len(made)} made"
    return Outcome("12", seed, len(made), len(died), verdict.violations, tuple(wrong), notes=notes)


def broker_forgets(stage: Stage, seed: int, size: int) -> Outcome:
    """13: all messages of the broker, or those being worked on, are deleted `size` times."""
    sid = stage.open(Meeting(f"trial-13-{seed}-{time.time_ns()}", min_fresh=20, cover_seconds=0))
    until(lambda: stage.level(sid) >= 20, 60, "the pool is filled")
    assert stage.worker is not None
    tape = Tape()
    slowest = 0.0
    for number in range(size):
        # The workers stand still, so that every hint is there to be lost.
        workers = stage.worker.pids
        signal_all(workers, signal.SIGSTOP)
        try:
            Crowd(
                tape, stage.server_ports, sid, stage.key, seed=seed, connections=5, total=10,
                again=0.0, name=f"round-{number}-{sid}",
            ).run(30)  # fmt: skip
            time.sleep(0.7)  # a hint that comes too soon after its like is sent half a second late
            if number % 2:
                stage.broker.delete(*UNACKED)
            else:
                stage.broker.flushdb()
        finally:
            signal_all(workers, signal.SIGCONT)
        since = time.monotonic()
        until(lambda: stage.level(sid) >= 20, 60, f"topped up again, round {number}")
        until(lambda: not stage.redis.xlen(key_names.claims(sid)), 60, f"recorded, round {number}")
        slowest = max(slowest, time.monotonic() - since)
    verdict = check(stage.evidence(tape, sid))
    wrong = []
    if slowest > 5.0:
        wrong.append(f"healed only after {slowest:.1f} s, with a sweep every 0.5 s")
    notes = f"healed within {slowest:.1f} s"
    return Outcome("13", seed, 10 * size, size, verdict.violations, tuple(wrong), notes=notes)


def too_many(stage: Stage, seed: int, size: int) -> Outcome:
    """14: two beats and three workers, and every message comes a hundred times, for `size` s.

    The stock stays under its target and the calls under way; the provider, which takes 60
    a second, is not asked for much more.
    """
    target, limit = 60, 60.0
    stage.knobs(limit_per_second=limit, limit_burst=10)
    environ = stage.environ("worker")
    more = [WarmProcess(["worker", "beat"], stage.log("beat-2"), environ=environ)] + [
        WarmProcess(["worker", "worker"], stage.log(f"worker-{n}"), environ=environ) for n in (2, 3)
    ]
    sid = ""
    tape = Tape()
    repeated = 0
    try:
        for process in more:
            process.start()
        sid = stage.open(
            Meeting(
                f"trial-14-{seed}-{time.time_ns()}", min_fresh=target, max_fresh=target,
                cover_seconds=0,
            )
        )  # fmt: skip
        until(lambda: stage.level(sid) >= target, 60, "the pool is filled")
        time.sleep(2.0)
        began_at = time.time()
        crowd = Crowd(
            tape, stage.server_ports, sid, stage.key, seed=seed, connections=4, again=0.1,
            pause_seconds=0.1,
        )  # fmt: skip
        url, connecting = broker(broker_url(stage.settings()))
        app = Celery(broker=url, set_as_current=False)
        app.conf.update(connecting)
        hints: list[tuple[str, dict[str, str]]] = [
            (SWEEP, {}), (TOP_UP, {"workspace": "default"}), (RECORD, {"sid": sid}),
            (RECOVER, {}), (LAPSE, {}), (EXPIRE, {}),
        ]  # fmt: skip
        crowd.start()
        try:
            while time.time() - began_at < size:
                for task, arguments in hints:
                    app.send_task(task, kwargs=arguments, queue=QUEUE)
                    repeated += 1
                stage.saw_stock(sid, target + CONCURRENCY)
                time.sleep(0.02)
        finally:
            crowd.stop()
        calls = [at for at in stage.calls() if at >= began_at]
    finally:
        for process in more:
            process.stop(signal.SIGKILL)
        stage.knobs(limit_per_second=0.0, limit_burst=0)
    budget = Budget(calls, per_second=1.2 * limit, burst=2 * CONCURRENCY)
    verdict = check(stage.evidence(tape, sid, budget=budget))
    most = max(seen.fresh for seen in stage.stock_seen if seen.meeting == sid)
    notes = f"stock at most {most} of {target}, {len(calls) / size:.0f} calls/s of {limit:.0f}"
    return Outcome("14", seed, crowd.asked, repeated, verdict.violations, notes=notes)


TRIALS = [
    Trial(
        "12",
        "worker killed at every step",
        dying_workers,
        full=100,
        bounded=5,
        stage=without_worker,
    ),
    Trial("13", "broker emptied", broker_forgets, full=20, bounded=2, stage=whole),
    Trial("14", "two beats, three workers", too_many, full=60, bounded=4, stage=whole),
]
