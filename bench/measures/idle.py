"""Measure what `linkpool up` with its sandbox takes while nobody asks anything of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from bench.measures.base import Bench, Missing
from bench.measures.startup import started
from bench.processes import pss_bytes
from bench.rows import Goal, Row


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
    with started(directory, "customer-1") as (up, _):
        time.sleep(seconds)  # the worker's processes have done each of their tasks once
        before, began = up.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        used = (up.cpu_seconds() - before) / (time.monotonic() - began)
        sizes = [pss_bytes(pid) for pid in up.pids]
        if not any(sizes):
            raise Missing("/proc/…/smaps_rollup is not there: memory is measured on Linux alone")
        return used, sum(sizes), ", ".join(f"{size / 1e6:.0f}" for size in sizes)
