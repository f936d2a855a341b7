"""Make the tables of an empty SQLite file in one step, as all migrations together would.

`newest_sqlite.sql` is what SQLite has noted after the migrations (`make schema` writes it anew). A
test compares the two. If the file is behind, the migrations that it lacks are run after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

SCRIPT = Path(__file__).with_name("newest_sqlite.sql")


def make_newest(connection: Connection) -> None:
    """Make all tables if there are none, within the transaction of this connection."""
    if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
        for statement in _statements(SCRIPT.read_text("utf-8")):
            connection.exec_driver_sql(statement)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, each of which ends with its line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):  # knows that a trigger goes on after a semicolon
            yield statement
            statement = ""
