"""Run trials 26 and 27: an API whose processes are replaced, and one that starts too early."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from bench.processes import PYTHON, Process
from pool.up import ports
from tests.trials.claims import static
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import Stage
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import whole, without_worker

_STOCK = 30_000  # links at the beginning of each round


def rolling_restart(stage: Stage, seed: int, size: int) -> Outcome:
    """26: SIGHUP replaces the processes of the API `size` times under load; no claim fails."""
    sid = static(stage, "26", seed, _STOCK)
    port = ports.choose()
    environ = stage.environ("rolling", API_WORKERS=2, HOST="127.0.0.1", PORT=port)
    process = Process([PYTHON, "-m", "pool.api"], stage.log("rolling"), environ=environ, port=port)
    tape = Tape()
    seen: set[int] = set()
    with process:
        until(lambda: len(_serving(process)) == 2, 30, "both processes are there")
        crowd = Crowd(
            tape, [port], sid, stage.key, seed=seed, connections=24, again=0.3,
            pause_seconds=0.02,
        )  # fmt: skip
        crowd.start()
        try:
            for _ in range(size):
                before = _serving(process)
                seen |= before
                # On a slow machine a round takes longer, and more customers come.
                if (level := stage.level(sid)) < _STOCK:
                    stage.stock(sid, _STOCK - level)
                time.sleep(0.5)
                os.kill(process.pids[0], signal.SIGHUP)
                crowd.until(
                    lambda before=before: (
                        len(_serving(process) - before) == 2  # type: ignore[misc]
                        and not _serving(process) & before
                    ),
                    60,
                )
            time.sleep(0.5)
        finally:
            crowd.stop()
        replaced = len(seen)
        process.stop()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    if tape.refusals:
        wrong.append(f"claims failed: {dict(tape.refusals)}")
    notes = f"{replaced} processes replaced, slowest claim {tape.slowest_seconds * 1000:.0f} ms"
    return Outcome("26", seed, crowd.asked, replaced, verdict.violations, tuple(wrong), notes=notes)


def _serving(process: Process) -> set[int]:
    """Return the processes that serve: children of the first, but for the one that tidies up."""
    return {pid for pid in process.pids[1:] if "spawn_main" in _command(pid)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def early_api(stage: Stage, seed: int, size: int) -> Outcome:
    """27: the API starts before Redis, before the ledger, or before both.

    It is alive at once, says what it lacks, refuses claims by typed errors, and serves once
    what it lacked is there, without being started again.
    """
    sid = static(stage, "27", seed, 20 * size + 20)
    tape = Tape()
    wrong: list[str] = []
    healed: list[float] = []
    for number in range(size):
        lacking = ("redis", "ledger", "redis and ledger")[number % 3]
        line = stage.redis_line
        assert line is not None
        # The ledger's directory turns up later, as a volume that is mounted late does.
        mount = stage.directory / f"mounted-{number}"
        volume, url = stage.mounted(mount)
        port = ports.choose()
        environ = stage.environ(
            f"early-{number}", API_WORKERS=1, HOST="127.0.0.1", PORT=port,
            DATABASE_URL=url,
        )  # fmt: skip
        process = Process(
            [PYTHON, "-m", "pool.api"], stage.log(f"early-{number}"), environ=environ, port=port
        )
        if "redis" in lacking:
            line.refuse()
        if "ledger" not in lacking:
            mount.symlink_to(volume)
        try:
            process.start()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
                alive = http.get("/livez")
                if alive.status_code != 200:
                    wrong.append(f"{lacking}: /livez answers {alive.status_code}")
                ready = http.get("/readyz")
                named = lacking.split(" and ")
                if ready.status_code != 503 or not all(
                    part in ready.text.lower() for part in named
                ):
                    wrong.append(f"{lacking}: /readyz answers {ready.status_code} {ready.text}")
                refused = _claim(http, stage, sid, f"27-{number}-early")
                if refused.status_code != 503 or "retry-after" not in refused.headers:
                    wrong.append(f"{lacking}: a claim is answered {refused.status_code}")
                if "ledger" in lacking:
                    mount.symlink_to(volume)
                line.calm()
                since = time.monotonic()
                until(
                    lambda http=http: http.get("/readyz").status_code == 200,  # type: ignore[misc]
                    20,
                    f"ready, {lacking}",
                )
                served = _claim(http, stage, sid, f"27-{number}")
                healed.append(time.monotonic() - since)
                if served.status_code != 201:
                    wrong.append(f"{lacking}: healed, and a claim is answered {served.status_code}")
                else:
                    slug = served.json()["claim"]["slug"]
                    tape.claimed(port, sid, f"27-{number}", slug, 201, False)
        finally:
            line.calm()
            process.stop(signal.SIGKILL)
    verdict = check(stage.evidence(tape, sid))
    notes = f"served within {max(healed, default=0):.1f} s of what was lacking"
    return Outcome("27", seed, size, size, verdict.violations, tuple(wrong), notes=notes)


def _claim(http: httpx.Client, stage: Stage, sid: str, customer: str) -> Any:
    return http.post(
        f"/v1/meetings/{sid}/claims",
        json={"customer_id": customer},
        headers={"X-API-Key": stage.key},
    )


TRIALS = [
    Trial(
        "26", "API processes replaced under load", rolling_restart, full=10, bounded=1, stage=whole
    ),
    Trial(
        "27", "API up before Redis and ledger", early_api, full=9, bounded=3, stage=without_worker
    ),
]
