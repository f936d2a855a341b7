"""Load to saturation with wrk: as many requests as its connections can carry."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.loads.request import Request

_SCRIPT = Path(__file__).parent / "claims.lua"


@dataclass(frozen=True, slots=True)
class Load:
    """The results of wrk."""

    requests: int
    seconds: float
    bad_status: int
    broken: int
    timeouts: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """Return the good answers per second."""
        return (self.requests - self.bad_status) / self.seconds


class BadLoad(Exception):
    """The answers were not what was to be measured."""


def available() -> bool:
    """Return True if wrk is installed."""
    return shutil.which("wrk") is not None


def new_run() -> str:
    """Return six characters that no earlier run's customers begin with."""
    return secrets.token_hex(3)


def wrk(
    request: Request,
    *,
    connections: int,
    seconds: float,
    threads: int = 2,
    run: str | None = None,
    customers: int = 0,
    meetings: int = 0,
) -> Load:
    """Send requests for some seconds. Raise BadLoad if wrk fails, or one request in a hundred."""
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".http") as template:
        template.write(request.template())
        template.flush()
        whole = max(1, round(seconds))
        command = [
            *("wrk", "-t", str(min(threads, connections)), "-c", str(connections)),
            *("-d", f"{whole}s", "--timeout", "10s", "--latency", "-s", str(_SCRIPT)),
            *(f"http://127.0.0.1:{request.port}/", "--", template.name, run or new_run()),
            *(str(customers), str(meetings)),
        ]
        done = subprocess.run(  # noqa: S603 - wrk and our own script
            command, capture_output=True, text=True, timeout=whole + 60, check=False
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("JSON ")]
    if not lines:
        raise BadLoad(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    load = Load(**json.loads(lines[-1][5:]))
    bad = load.bad_status + load.broken + load.timeouts
    if not load.requests or bad > load.requests / 100:
        raise BadLoad(f"{bad} of {load.requests} requests failed ({load})")
    return load
