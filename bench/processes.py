"""Start child processes, wait for them, measure and end them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PYTHON = sys.executable
START_SECONDS = 60.0


class DidNotStart(Exception):
    """A process ended, or did not listen in time; the message holds the end of its log."""


class Process:
    """One program in a process group of its own, its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._environ = dict(environ) if environ is not None else None
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Return once it listens, if it has a port. Raise DidNotStart."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - what the benchmark itself composed
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if self._port is not None:
            self._wait_for_port(self._port)

    def stop(self, sign: signal.Signals = signal.SIGTERM, seconds: float = 6.0) -> None:
        """Ask it to end, then kill it and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end_group(process.pid)
            process.wait()

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """Return its pid and those of all its descendants."""
        return _family(self._process.pid) if self._process else []

    @property
    def alive(self) -> bool:
        """Return True if it runs."""
        return self._process is not None and self._process.poll() is None

    def rss_bytes(self) -> int:
        """Return the resident memory of it and its descendants; Linux only, 0 elsewhere."""
        return sum(_rss_bytes(pid) for pid in self.pids)

    def cpu_seconds(self) -> float:
        """Return the CPU that it and its descendants have used; Linux only, 0 elsewhere."""
        return cpu_seconds(self.pids)

    def _wait_for_port(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        said = self._log.read_text("utf-8", errors="replace")[-2000:]
        self.stop()
        raise DidNotStart(f"{' '.join(self._command)} does not listen on {port}:\n{said}")


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _family(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU that these processes, and children of theirs that ended, have used so far."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # A worker's process that ends must not take what it used out of the sum.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def pss_bytes(pid: int) -> int:
    """Return a process's memory, what it shares counted in part; Linux only, 0 elsewhere."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
