"""Measure two API processes behind HAProxy against one behind it.

On a small machine load, HAProxy and Redis take what a second API process would need. To make
room, each API process gets a fixed share of one core (bench/throttle.py), alone or beside another.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench import preload
from bench.loads.wrk import wrk
from bench.measures.base import Bench, Missing
from bench.processes import Process
from bench.rows import Goal, Row, ratio
from bench.stage import Stage, quiet_meeting
from bench.throttle import Throttle
from pool.up import ports

SID = "bench-two-apis"
SHARE = 0.1  # of one core, for each API process
CONNECTIONS = 64  # for each API process: fewer would make smaller batches, which cost more
_EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "proxies" / "haproxy.cfg"


def measure(bench: Bench) -> list[Row]:
    """Measure both in turn, and return their ratio."""
    bench.needs_wrk()
    program = shutil.which("haproxy")
    if program is None:
        raise Missing("HAProxy is not installed (Debian: package haproxy)")
    rates: dict[int, list[float]] = {1: [], 2: []}
    with Stage() as stage:
        stage.open_meetings([quiet_meeting(SID)])
        apis = [stage.api() for _ in range(2)]
        with ExitStack() as stack:
            for process, _ in apis:
                stack.enter_context(process)
            behind = [port for _, port in apis]
            fronts = {
                count: stack.enter_context(_haproxy(program, stage, behind[:count]))
                for count in rates
            }
            for port in fronts.values():
                _wait_until_served(port)
            pids = [process.pids[0] for process, _ in apis]
            stack.enter_context(Throttle(pids, SHARE))
            for _ in range(bench.options.runs):
                for count, port in fronts.items():
                    preload.fresh_links(
                        stage.redis,
                        SID,
                        round(15_000 * bench.options.seconds) + 1_000,
                        prefix=secrets.token_hex(2),
                    )
                    load = wrk(
                        stage.request(port, SID),
                        connections=CONNECTIONS * count,
                        seconds=bench.options.seconds,
                        threads=1,
                    )
                    rates[count].append(load.rate)
                    bench.say(f"{count} API processes behind HAProxy: {load.rate:,.0f}/s")
    note = f"each API process has {SHARE:.0%} of one core"
    return [
        ratio(
            "two-apis.ratio",
            "two API processes behind HAProxy against one",
            rates[2],
            rates[1],
            Goal(at_least=1.6),
            note,
        ),
        *(
            Row(f"two-apis.{count}", f"API processes: {count}", "claims/s", tuple(found))
            for count, found in rates.items()
        ),
    ]


def _wait_until_served(port: int) -> None:
    """Return once HAProxy has seen that every API process behind it is ready."""
    ends = time.monotonic() + 30
    served = 0
    while served < 20:
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10, trust_env=False)
        served = served + 1 if answer.status_code == httpx.codes.OK else 0
        if time.monotonic() > ends:
            raise Missing("the API processes do not get ready")
        time.sleep(0.1)


@contextmanager
def _haproxy(program: str, stage: Stage, behind: list[int]) -> Iterator[int]:
    """Run HAProxy as deploy/proxies has it, without TLS. Yield its port."""
    port = ports.choose()
    lines = []
    for line in _EXAMPLE.read_text("utf-8").splitlines():
        if "bind :443" in line:
            lines.append(f"    bind 127.0.0.1:{port}")
        elif "server one" in line:
            lines += [f"    server s{each} 127.0.0.1:{each}" for each in behind]
        else:
            lines.append(line)
    file = stage.directory / f"haproxy-{port}.cfg"
    file.write_text("\n".join(lines) + "\n")
    with Process([program, "-db", "-f", str(file)], stage.log(f"haproxy-{port}"), port=port):
        yield port
