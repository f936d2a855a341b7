"""Measure what `linkpool up` with its sandbox takes while nobody asks anything of it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path

from bench.measures.base import Bench, Missing
from bench.measures.probe import until_claimed
from bench.processes import PYTHON, Process, pss_bytes
from bench.rows import Goal, Row
from pool.config.settings import PREFIX
from pool.up import ports


def measure(bench: Bench) -> list[Row]:
    """Measure CPU and memory of all processes, once all have done all they do by themselves."""
    cpu, memory = [], []
    for run in range(bench.options.runs):
        directory = Path(tempfile.mkdtemp(prefix="linkpool-bench-"))
        try:
            used, taken, each = _idle(directory, bench.options.sizes.idle_seconds)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        cpu.append(100 * used)
        memory.append(taken / 1e6)
        bench.say(f"run {run + 1}: {cpu[-1]:.1f} % of a core, {memory[-1]:.0f} MB ({each})")
    return [
        Row("idle.cpu", "idle `linkpool up`: CPU", "% of a core", tuple(cpu), Goal(at_most=2)),
        Row(
            "idle.memory",
            "idle `linkpool up`: all processes, proportional set size",
            "MB",
            tuple(memory),
            Goal(at_most=300),
        ),
    ]


def _idle(directory: Path, seconds: float) -> tuple[float, int, str]:
    """Return the share of a core, the bytes, and the megabytes of each process."""
    port, key = ports.choose(), secrets.token_urlsafe(24)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = [PYTHON, "-m", "pool.cli", "up", "--meeting", "demo"]
    up = Process(
        [*command, "--port", str(port), "--data-dir", str(directory / "data")],
        directory / "up.log",
        environ=environ | {f"{PREFIX}ADMIN_KEY": key},
    )
    up.start()
    try:
        url = f"http://127.0.0.1:{port}/v1/meetings/demo/claims"
        until_claimed(url, key, "customer-1", within_seconds=60)
        time.sleep(seconds)  # the worker's processes have done each of their tasks once
        before, began = up.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        used = (up.cpu_seconds() - before) / (time.monotonic() - began)
        sizes = [pss_bytes(pid) for pid in up.pids]
        if not any(sizes):
            raise Missing("/proc/…/smaps_rollup is not there: memory is measured on Linux alone")
        return used, sum(sizes), ", ".join(f"{size / 1e6:.0f}" for size in sizes)
    finally:
        up.stop(signal.SIGINT, seconds=40)
