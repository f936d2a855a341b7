"""Test which processes are known to have ended."""

from __future__ import annotations

import os
import subprocess
import sys

from worker.pulse import _lives


def test_a_process_that_ended_is_not_awaited_though_nobody_has_asked_how() -> None:
    """A killed worker's children are such, where what adopts them is slow to ask."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    name = f"worker host:{child.pid}"
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and left as it is
    assert not _lives(name)
    child.wait()
    assert not _lives(name)
    assert _lives(f"worker host:{os.getpid()}")
    assert not _lives("worker host:nobody")
