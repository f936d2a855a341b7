"""Upgrade, recount and prune the database: `linkpool db`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from pool.cli.common import ACTOR, DataDir, on_ledger, settings_for
from pool.cli.lazy import LazyGroup
from pool.up.data_dir import make_directory

if TYPE_CHECKING:
    from pool.ledger import Ledger


class DatabaseCommands(LazyGroup):
    """The commands of `linkpool db`."""

    elsewhere = {"prune": "pool.cli.prune:prune"}  # noqa: RUF012 - a ClassVar in the base


app = typer.Typer(cls=DatabaseCommands, help="The database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(data_dir: DataDir = None) -> None:
    """Upgrade the database to the newest schema, and add the meetings of linkpool.toml.

    Safe to run again, and by two at once.
    """
    from pool.bootstrap import migrate

    settings = settings_for(data_dir)

    async def work(ledger: Ledger) -> str:
        if settings.database_url is None:
            make_directory(settings.data_dir)  # the ledger is in there
        await migrate(ledger, settings, [])
        return (await ledger.migration_state())[1]

    done = on_ledger(settings, work, must_exist=False)  # it is made here
    sys.stdout.write(f"the database is at {done}\n")


@app.command("recount")
def recount(data_dir: DataDir = None) -> None:
    """Count all links again, if `linkpool doctor` finds that the kept numbers are wrong.

    The workers wait with the ledger until it is done; claims are served meanwhile.
    """
    on_ledger(settings_for(data_dir), lambda ledger: ledger.counts.recount())
    sys.stdout.write("all links were counted\n")


@app.command("restored")
def restored(data_dir: DataDir = None) -> None:
    """Note that the database was restored from a backup, before anything is started on it.

    Seals in it are forgotten: a Redis put back to the same moment would hand out once more what
    was handed out since. What is fresh in the backup is set aside, and made anew.
    """
    settings = settings_for(data_dir)

    async def work(ledger: Ledger) -> int:
        forgotten = await ledger.meetings.forget_seals()
        await ledger.audit.add(ACTOR, "restored", None, "", {"seals": forgotten})
        return forgotten

    seals = on_ledger(settings, work)
    sys.stdout.write(f"forgot {seals} seals; restart Redis before you start linkpool\n")
