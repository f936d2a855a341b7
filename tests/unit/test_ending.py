"""Test how the tests end processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ending import DidNotEnd, end, end_all, ended, outcome
from tests.processes import processes

DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.write(1, b"a child\\n")
else:
    os.write(1, b"I am deaf\\n")
time.sleep(600)
"""


def deaf(log: Path, **how: object) -> subprocess.Popen[bytes]:
    """Return a process that ignores SIGTERM, as does a child of it, once both have said so."""
    with log.open("wb") as said:
        process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=said, **how)  # type: ignore[call-overload]
    while log.read_text().count("\n") < 2:
        assert process.poll() is None
    return process


def test_what_does_not_end_is_killed_and_shown(tmp_path: Path) -> None:
    """Its whole group is killed, and the end of its log is shown."""
    environ = {**os.environ, "ENDED": str(tmp_path)}
    process = deaf(tmp_path / "log", start_new_session=True, env=environ)
    with pytest.raises(DidNotEnd, match="I am deaf"):
        end(process, tmp_path / "log", tmp_path / "none", seconds=0.1)
    assert process.returncode == -signal.SIGKILL
    mark = f"ENDED={tmp_path}\0".encode()
    while list(processes(mark, str(tmp_path / "nowhere"), but=frozenset())):
        time.sleep(0.01)  # until its child is gone, too


def test_all_are_ended_before_one_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "__kwdefaults__", {"seconds": 0.1})
    running = [(deaf(tmp_path / name, start_new_session=True), tmp_path / name) for name in "ab"]
    with pytest.raises(DidNotEnd, match=r"(?s)/a:.*/b:"):
        end_all(running)
    assert [process.returncode for process, _ in running] == [-signal.SIGKILL] * 2


def test_what_ends_in_time_tells_how() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('so'); sys.exit(3)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert outcome(process)[0] == "so\n"
    assert end(process) == 3
