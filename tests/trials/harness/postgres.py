"""Run PostgreSQL, behind PgBouncer in transaction mode or alone, as the ledger of a stage."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.postgres import NoPostgres, Postgres
from pool.up import ports
from tests.trials.harness.crowd import until
from tests.trials.harness.kinds import chosen
from tests.trials.harness.lacking import Lacking

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_CONFIGURATION = """\
[databases]
* = host={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
server_round_robin = 1
"""
# What the checker asks for.
_COPIED = {
    "links": ("slug", "meeting_sid", "state", "customer_id"),
    "inbox": ("id", "state", "meeting_sid"),
    "audit": ("meeting_sid", "action", "detail"),
}


def _rows(url: str, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    numbers = iter(range(1, 1 + sql.count("?")))
    text = re.sub(r"\?", lambda _: f"${next(numbers)}", sql)

    async def ask() -> list[tuple[Any, ...]]:
        connection: Any = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(text, *values)]
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # a loop may be running here
        return thread.submit(asyncio.run, ask()).result()


def copy_ledger(url: str, path: Path) -> None:
    """Copy the tables that the checker reads from a database into a new SQLite file."""
    with closing(sqlite3.connect(path)) as copy:
        for table, columns in _COPIED.items():
            names = ", ".join(columns)
            copy.execute(f"CREATE TABLE {table} ({names})")
            marks = ", ".join("?" for _ in columns)
            copy.executemany(
                f"INSERT INTO {table} VALUES ({marks})", _rows(url, f"SELECT {names} FROM {table}")
            )
        copy.commit()


class LedgerServer:
    """A server that everybody asks directly."""

    def __init__(self) -> None:
        """Raise Lacking if there is no server."""
        try:
            self._server = Postgres()
        except NoPostgres as error:
            raise Lacking(str(error)) from None

    @property
    def url(self) -> str:
        """Return the address of the ledger."""
        return self._server.url

    @property
    def directory(self) -> Path:
        """Return the directory that holds the socket of the server itself."""
        return self._server.directory

    def close(self) -> None:
        """End it."""
        self._server.__exit__(None, None, None)

    def rows(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Return what a query finds, whose parameters are written as `?`."""
        return _rows(self._server.url, sql, values)

    def copy_to(self, path: Path) -> None:
        """Copy the tables that the checker reads into a SQLite file, by which all trials are
        judged.
        """
        copy_ledger(self._server.url, path)

    def set(self, number: int) -> None:
        """Make it report at each row that its disk is full, unless the number is 0."""
        body = "RETURN NULL"
        if number:
            body = "RAISE disk_full USING MESSAGE = 'could not extend file: no space left'"

        async def work() -> None:
            connection: Any = await asyncpg.connect(self._server.url)
            try:
                await connection.execute(
                    "CREATE OR REPLACE FUNCTION trial_disk() RETURNS trigger LANGUAGE plpgsql"
                    f" AS $$BEGIN {body}; END$$"
                )
                for [table] in await connection.fetch(
                    "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
                ):
                    await connection.execute(
                        f'CREATE OR REPLACE TRIGGER trial_disk BEFORE INSERT OR UPDATE ON "{table}"'
                        " FOR EACH STATEMENT EXECUTE FUNCTION trial_disk()"
                    )
            finally:
                await connection.close()

        asyncio.run(work())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from writing, and from reading the rows, as a migration that hangs does."""
        loop = asyncio.new_event_loop()
        connection: Any = loop.run_until_complete(asyncpg.connect(self._server.url))
        try:
            loop.run_until_complete(connection.execute("BEGIN"))
            lock = "LOCK TABLE links, inbox, facts, bookings IN ACCESS EXCLUSIVE MODE"
            loop.run_until_complete(connection.execute(lock))
            yield
        finally:
            loop.run_until_complete(connection.execute("ROLLBACK"))
            loop.run_until_complete(connection.close())
            loop.close()


class PooledPostgres(LedgerServer):
    """A server behind a pooler, which everybody but this class uses."""

    def __init__(self) -> None:
        """Raise Lacking if there is no server or no PgBouncer."""
        if _PROGRAM is None:
            raise Lacking("PgBouncer: apt-get install pgbouncer")
        super().__init__()
        self._port = ports.choose()
        self._folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        (self._folder / "users").write_text('"postgres" ""\n')
        (self._folder / "ini").write_text(
            _CONFIGURATION.format(
                server=self._server.directory, port=self._port, folder=self._folder
            )
        )
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # as which it refuses to run
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for each in (self._folder, *self._folder.iterdir()):
                os.chown(each, nobody.pw_uid, nobody.pw_gid)
        self._pooler = subprocess.Popen(
            [_PROGRAM, "-q", str(self._folder / "ini")], **account, stderr=subprocess.DEVNULL
        )
        until(lambda: not ports.is_free(self._port), 30, "PgBouncer listens")

    @property
    def url(self) -> str:
        """Return the address of the ledger, through the pooler."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def close(self) -> None:
        """End both."""
        self._pooler.send_signal(signal.SIGKILL)
        self._pooler.wait()
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


def open_server() -> LedgerServer | None:
    """Return the server that was chosen for the ledger, or None for SQLite. Raise Lacking."""
    kinds = {"postgresql": PooledPostgres, "plain-postgresql": LedgerServer}
    return kinds[chosen.database]() if chosen.database in kinds else None
