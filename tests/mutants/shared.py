"""Make once what every trial needs: a PostgreSQL server, and databases with all tables.

Each trial runs in a process of its own, which would start a server and run all migrations anew.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

BY_SEVERAL = ("session", "package", "module", "class")  # scopes of what several tests share
_START_SECONDS = 120


class Shared:
    """A plugin that answers for some of the tests' fixtures with what is there already."""

    def __init__(self, sqlite: Path, directory: Path, database: str) -> None:
        self._values: dict[str, Any] = {"migrated_sqlite": sqlite, "migrated_postgres": database}
        self._directory = directory

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Any:
        if fixturedef.argname == "postgres":
            from tests.postgres import postgres_in

            value = postgres_in(self._directory)
        else:
            value = self._values.get(fixturedef.argname)
        if value is not None:
            fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value


@contextmanager
def shared() -> Iterator[Shared]:
    """Start what is shared, and stop it at the end.

    Another process does both: where tests run, nothing of linkpool may be imported before its
    functions can be marked.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(there, here))
    process.start()
    there.close()
    try:
        if not here.poll(_START_SECONDS):
            raise SystemExit("what all trials need cannot be made")
        yield Shared(*here.recv())
    finally:
        here.close()  # which the other hears
        process.join()


def _serve(parent: Connection, others: Connection) -> None:
    others.close()  # a copy, with which this process would never hear that the parent closed it
    for each in (signal.SIGINT, signal.SIGTERM):  # sent to all: the end is heard in any case
        signal.signal(each, signal.SIG_IGN)
    from tests.aside import in_thread, migrated
    from tests.postgres import make_template, start_postgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
        sqlite = folder / "template.sqlite3"
        in_thread(migrated(f"sqlite:///{sqlite}"))
        server = start_postgres()
        stack.callback(shutil.rmtree, server.directory, ignore_errors=True)
        stack.callback(server.stop)
        parent.send((sqlite, server.directory, make_template(server)))
        parent.poll(None)  # until the other end is closed
