"""Start the open-loop generator as a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass

from bench.loads.request import Request
from bench.loads.wrk import BadLoad, new_run
from bench.processes import PYTHON


@dataclass(frozen=True, slots=True)
class Arrived:
    """The generator's results; latencies count from the moment a request was due."""

    sent: int
    answered: int
    bad: int
    unanswered: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    sent_late_p99_ms: float  # how late the generator itself was, or the connections all busy


def arrivals(request: Request, *, rate: float, seconds: float, connections: int = 256) -> Arrived:
    """Load at a constant rate. Raise BadLoad if the load was not a fair one."""
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".http") as template:
        template.write(request.template())
        template.flush()
        command = [
            *(PYTHON, "-m", "bench.loads.open_loop", "--template", template.name),
            *("--port", str(request.port), "--rate", str(rate), "--seconds", str(seconds)),
            *("--connections", str(connections), "--run", new_run()),
        ]
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=seconds + 60, check=False
        )
    if done.returncode != 0:
        raise BadLoad(f"the generator failed: {done.stderr[-500:]}")
    seen = Arrived(**json.loads(done.stdout.splitlines()[-1]))
    if seen.bad > seen.answered / 100 or not seen.answered:
        raise BadLoad(f"{seen.bad} of {seen.answered} requests failed ({seen})")
    return seen
