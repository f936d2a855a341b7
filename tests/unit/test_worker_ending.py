"""Test that a worker which was asked to stop ends, whatever its children do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKER = """
import os, signal, sys, time
from billiard import Process
from celery.signals import worker_shutting_down
from worker.ending import end_in_time

end_in_time(0.2)
child = Process(target=lambda: signal.pause())
child.start()
os.kill(child.pid, signal.SIGSTOP)
print(child.pid, flush=True)
worker_shutting_down.send(sender=None)
child.join()
"""


def test_a_child_that_hangs_is_killed_and_the_worker_ends() -> None:
    """A stopped child would keep the worker for good."""
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=30, check=False
    )
    assert worker.returncode == os.EX_TEMPFAIL, worker.stderr
    pid, said = worker.stdout.split(maxsplit=1)
    assert f"processes=[{pid}]" in said
    try:
        os.kill(int(pid), signal.SIG_DFL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 60
    while _state_of(pid) not in ("Z", ""):  # it has ended, though nobody asked how
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
