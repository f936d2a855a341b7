"""Have the running parts take new workspaces, meetings and secrets."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import typer

from pool.cli.common import DONE, FAILED, NOT_REACHABLE, DataDir, fail, settings_for
from pool.up.running import Said, running

PATIENCE_SECONDS = 90.0  # with several API processes, each is replaced in its turn
_EVERY_SECONDS = 0.1


def reload(data_dir: DataDir = None) -> None:
    """Have API, worker and beat on this host and data directory read their settings again.

    That is linkpool.toml, the files of secrets, and LINKPOOL_ENV_FILE. No claim is dropped; bad
    settings are refused in one line, and the old ones stay. SIGHUP to a part does the same.
    """
    directory = settings_for(data_dir).data_dir.absolute()
    asked = list(running(directory))
    if not asked:
        fail(f"no part of linkpool runs on {directory} on this host", NOT_REACHABLE)
    for pid in {each.pid for each in asked}:  # beat may be a thread of a worker
        os.kill(pid, signal.SIGHUP)
    bad = 0
    ends_at = time.monotonic() + PATIENCE_SECONDS
    for each in asked:
        problem = _outcome(each, directory, ends_at)
        bad += bool(problem)
        sys.stdout.write(f"{each.part}: {problem or 'reloaded'}\n")
    raise typer.Exit(FAILED if bad else DONE)


def _outcome(asked: Said, directory: Path, ends_at: float) -> str:
    """Return why a part did not reload, once it says so, and nothing if it did."""
    while time.monotonic() < ends_at:
        now = next((each for each in running(directory) if each.pid == asked.pid), None)
        if now is None and not _lives(asked.pid):
            return "has ended"
        if now is not None and now.started_at != asked.started_at:
            return ""  # it has begun anew
        if now is not None and now.reloads > asked.reloads:
            return f"not reloaded: {now.problem}" if now.problem else ""
        time.sleep(_EVERY_SECONDS)
    return f"did not answer within {PATIENCE_SECONDS:.0f} s"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
