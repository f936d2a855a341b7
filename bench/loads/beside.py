"""Run a load generator as a process beside the load that is measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.loads.wrk import BadLoad
from bench.processes import PYTHON


@contextmanager
def beside(module: str, seconds: float, *options: str) -> Iterator[dict[str, Any]]:
    """Run a generator for this long. The dictionary holds its answers once the block has ended.

    It is nice, as if it had a machine of its own. Raise BadLoad if it fails.
    """
    answers: dict[str, Any] = {}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [PYTHON, "-m", module, "--seconds", str(seconds), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: os.nice(19),
    )  # fmt: skip
    try:
        yield answers
        written, complaint = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise BadLoad(f"{module} failed: {complaint.decode()[-500:]}")
    answers.update(json.loads(written))
