"""Test the files by which `linkpool reload` finds the parts of a data directory."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from pool.up.running import FOLDER, Running, running


def test_a_part_is_found_and_says_what_became_of_a_reload(tmp_path: Path) -> None:
    part = Running(tmp_path, "api")
    part.reloaded("LINKPOOL_PORT: no")
    part.reloaded()
    [said] = running(tmp_path)
    assert (said.part, said.pid, said.reloads, said.problem) == ("api", os.getpid(), 2, "")


def test_a_part_is_found_while_it_writes(tmp_path: Path) -> None:
    """A shorter text leaves nothing of a longer one behind, and the file is never empty."""
    part = Running(tmp_path, "worker")
    for problem in ("x" * 500, "", "y" * 20, "z" * 900, ""):
        part.reloaded(problem)
        assert [each.problem for each in running(tmp_path)] == [problem]


def test_a_part_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    """That holds where another process has its id by now, too."""
    code = f"import os; from pathlib import Path; from pool.up.running import Running; Running(Path({str(tmp_path)!r}), 'worker'); os._exit(1)"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    assert list(running(tmp_path)) == []
    Running(tmp_path, "beat")
    [mine] = (tmp_path / FOLDER).glob(f"beat-{socket.gethostname()}-*.json")
    text = mine.read_bytes()
    mine.unlink()  # the file that is locked is gone, and one that nobody has locked is there
    mine.write_bytes(text)
    with mine.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert list(running(tmp_path)) == []
    assert not list((tmp_path / FOLDER).iterdir())
