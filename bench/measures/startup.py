"""Measure `linkpool up`: from nothing to the first claim answered, and the second start."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measures.base import Bench
from bench.measures.probe import until_claimed
from bench.processes import PYTHON, Process
from bench.rows import Goal, Row
from pool.config.settings import PREFIX
from pool.up import ports


def measure(bench: Bench) -> list[Row]:
    """Measure the seconds of both."""
    first, second = [], []
    for run in range(bench.options.runs):
        directory = Path(tempfile.mkdtemp(prefix="linkpool-bench-"))
        try:
            first.append(_start(directory, "customer-1"))
            second.append(_start(directory, "customer-2"))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        bench.say(f"run {run + 1}: {first[-1]:.1f} s from nothing, {second[-1]:.1f} s again")
    return [
        Row(
            "startup.first",
            "`linkpool up` from nothing to the first claim answered",
            "s",
            tuple(first),
            Goal(at_most=6),
        ),
        Row("startup.second", "the same on the data of an orderly stop", "s", tuple(second)),
    ]


def _start(directory: Path, customer_id: str) -> float:
    with started(directory, customer_id) as (_, seconds):
        return seconds


@contextmanager
def started(directory: Path, customer_id: str) -> Iterator[tuple[Process, float]]:
    """Run `linkpool up`. Yield it and the seconds to its first answered claim, then stop it."""
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
        yield up, until_claimed(url, key, customer_id, within_seconds=60)[0]
    finally:
        up.stop(signal.SIGINT, seconds=40)
