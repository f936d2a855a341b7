"""Run trials 23 and 24: a machine that runs out of disk, or of file descriptors."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx

from bench.processes import PYTHON, Process
from pool.up import ports
from tests.trials.claims import static
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.ledger_troubles import event, send
from tests.trials.stages import FullStage, on_small_disks, whole

BACK_SECONDS = 5.0
MOST_SECONDS = 2.5  # a claim's deadline, and what a busy machine adds


def disk_full(stage: FullStage, seed: int, size: int) -> Outcome:
    """23: the ledger's disk is full, then Redis's, then both; `size` times over.

    Without the ledger's disk claims go on and webhooks get 503; without Redis's, new claims
    get a clean 503 and existing ones their link. With space again all goes on by itself.
    """
    sid = static(stage, "23", seed, 3_000 * size)
    tape, refused = Tape(), Counter[str]()
    wrong: list[str] = []
    slowest = 0.0
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=8, again=0.3,
        pause_seconds=0.02,
    )  # fmt: skip
    crowd.start()
    try:
        crowd.until(lambda: len(tape.claims) > 50, 20)
        for number in range(3 * size):
            ledger, redis = ((True, False), (False, True), (True, True))[number % 3]
            before = tape.refusals.copy()
            stage.ledger_disk.set(int(ledger))
            stage.redis_disk.set(int(redis))
            try:
                if redis:
                    crowd.until(lambda before=before: (tape.refusals - before).total() > 20, 20)  # type: ignore[misc]
                else:
                    served = crowd.answered
                    with httpx.Client(timeout=30) as http:
                        taken = {claim.slug for claim in tape.claims[-5:]}
                        for slug in taken:
                            answer = send(stage, http, event("booking_created", f"23-{slug}", slug))
                            refused[str(answer.status_code)] += 1
                    crowd.until(lambda served=served: crowd.answered > served + 50, 20)  # type: ignore[misc]
                    if tape.refusals != before:
                        wrong.append(f"claims were refused: {dict(tape.refusals - before)}")
            finally:
                stage.ledger_disk.set(0)
                stage.redis_disk.set(0)
            since = time.monotonic()
            new = sum(not claim.reused for claim in tape.claims)
            crowd.until(
                lambda new=new: sum(not claim.reused for claim in tape.claims) > new,  # type: ignore[misc]
                20,
            )
            slowest = max(slowest, time.monotonic() - since)
            with httpx.Client(timeout=30) as http:
                slug = tape.claims[0].slug
                answer = send(stage, http, event("booking_created", f"23-{slug}-{number}", slug))
                if answer.status_code == 202:
                    tape.accepted(answer.json()["event_id"])
                else:
                    wrong.append(f"with space again a webhook gets {answer.status_code}")
    finally:
        stage.ledger_disk.set(0)
        stage.redis_disk.set(0)
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    wrong += crowd.wrong
    odd = set(tape.refusals) - {"503 store-unavailable"}
    if odd:
        wrong.append(f"refused otherwise: {sorted(odd)}")
    if set(refused) != {"503"}:
        wrong.append(f"webhooks were answered {dict(refused)} without space for them")
    if slowest > BACK_SECONDS:
        wrong.append(f"new claims were served only {slowest:.1f} s after there was space")
    notes = f"{tape.refusals.total()} clean 503, new claims {slowest:.1f} s after there was space"
    return Outcome("23", seed, crowd.asked, 3 * size, verdict.violations, tuple(wrong), notes=notes)


def no_descriptors(stage: Stage, seed: int, size: int) -> Outcome:
    """24: more connections come than the API has file descriptors for, `size` times.

    Those it has are served meanwhile; it does not spin; once the crowd is gone it accepts as
    before, without being started again.
    """
    sid = static(stage, "24", seed, 4_000 * size)
    limit = 200
    port = ports.choose()
    environ = stage.environ("few-files", API_WORKERS=1, HOST="127.0.0.1", PORT=port)
    limited = (
        "import resource, runpy; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
        "runpy.run_module('pool.api', run_name='__main__')"
    )
    process = Process([PYTHON, "-c", limited], stage.log("few-files"), environ=environ, port=port)
    tape = Tape()
    wrong: list[str] = []
    cpu, refused = 0.0, 0
    with process:
        crowd = Crowd(
            tape, [port], sid, stage.key, seed=seed, connections=4, again=0.3, pause_seconds=0.02
        )
        crowd.start()
        try:
            crowd.until(lambda: len(tape.claims) > 20, 20)
            for _ in range(size):
                idle = [_connect(port) for _ in range(2 * limit)]
                time.sleep(0.3)
                served, before, began = crowd.answered, _cpu_seconds(process), time.monotonic()
                time.sleep(1.0)
                crowd.until(lambda served=served: crowd.answered > served + 50, 20)  # type: ignore[misc]
                cpu = max(cpu, (_cpu_seconds(process) - before) / (time.monotonic() - began))
                for each in idle:
                    each.close()
                until(lambda: _accepts(port), 20, "it accepts again")
        finally:
            crowd.stop()
        if not process.alive:
            wrong.append("the server ended")
        log = stage.log("few-files").read_text("utf-8", errors="replace")
        refused = log.count("Too many open files")
    verdict = check(stage.evidence(tape, sid))
    wrong += crowd.wrong
    if tape.refusals:
        wrong.append(f"customers who were connected were refused: {dict(tape.refusals)}")
    if tape.slowest_seconds > MOST_SECONDS:
        wrong.append(f"a claim took {tape.slowest_seconds:.1f} s")
    if refused > 100 * size:
        wrong.append(f"{refused} complaints in the log: it spins")
    notes = f"slowest claim {tape.slowest_seconds:.2f} s, {refused} complaints, CPU {cpu:.0%}"
    return Outcome("24", seed, crowd.asked, size, verdict.violations, tuple(wrong), notes=notes)


def _connect(port: int) -> socket.socket:
    """Return a connection, or at least one that waits to be accepted."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    return connection


def _accepts(port: int) -> bool:
    with suppress(httpx.HTTPError), httpx.Client(timeout=2, trust_env=False) as http:
        return http.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    return False


def _cpu_seconds(process: Process) -> float:
    ticks = 0
    for pid in process.pids:
        with suppress(OSError):
            after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            ticks += int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")


TRIALS = [
    Trial("23", "disk full", disk_full, full=10, bounded=1, stage=on_small_disks),
    Trial("24", "no file descriptors left", no_descriptors, full=10, bounded=1, stage=whole),
]
