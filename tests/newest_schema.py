"""Write the tables of a SQLite file as the migrations leave them: `make schema`."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from pool.ledger import migrations
from pool.ledger.database import Database
from pool.ledger.migrations.newest import SCRIPT


async def migrated(path: Path, revision: str = "head") -> None:
    """Run the migrations, one after the other, on a SQLite file."""
    database = Database(f"sqlite:///{path}")
    await database.migrate(partial(migrations._upgrade, revision=revision))
    await database.close()


def script_of(path: Path) -> str:
    """Return the statements that make the tables of a SQLite file, and its revision."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' "
            "ORDER BY rowid"
        ).fetchall()
        [(revision,)] = connection.execute("SELECT version_num FROM alembic_version")
    inserted = f"INSERT INTO alembic_version (version_num) VALUES ('{revision}')"
    return "".join(f"{sql.strip()};\n" for sql in [*(sql for (sql,) in made), inserted])


def main() -> None:
    """Write the script that belongs to the newest migration."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite3"
        asyncio.run(migrated(path))
        SCRIPT.write_text(script_of(path), "utf-8")


if __name__ == "__main__":
    main()
