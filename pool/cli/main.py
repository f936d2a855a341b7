"""Put all commands together, and start them."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.common import (
    DONE,
    FAILED,
    WRONG_USAGE,
    DataDir,
    check_sid,
    environment_for,
    exit_code,
    fail,
    run,
    settings_for,
)
from pool.cli.lazy import LazyGroup
from pool.config.settings import PREFIX, Settings
from pool.errors import LinkpoolError, SettingsError
from pool.up.data_dir import check_directory
from pool.up.modules import become, safe_environ

if TYPE_CHECKING:
    pass


class Commands(LazyGroup):
    """All commands; those with a module of their own are imported when they are called."""

    elsewhere = {  # noqa: RUF012 - a ClassVar in the base
        "meetings": "pool.cli.meetings:app",
        "keys": "pool.cli.api_keys:app",
        "tokens": "pool.cli.tokens:app",
        "public-keys": "pool.cli.public_keys:app",
        "events": "pool.cli.events:app",
        "db": "pool.cli.database:app",
        "token": "pool.cli.tokens:token",
        "tag": "pool.cli.tag:tag",
        "claim": "pool.cli.claim:claim",
        "embed": "pool.cli.embed:embed",
        "status": "pool.cli.status:status",
        "doctor": "pool.cli.doctor:doctor",
        "reload": "pool.cli.reload:reload",
    }


app = typer.Typer(
    name="linkpool",
    cls=Commands,
    help="One-off scheduling links, made ahead of time and claimed in about a millisecond.\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 Redis, database or API not "
    "reachable, 4 not found.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Address to serve on (LINKPOOL_HOST).")]
Port = Annotated[int | None, typer.Option(min=1, max=65_535, help="Port (LINKPOOL_PORT).")]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    atexit.register(gc.freeze)  # Python looks through all that was imported once more as it ends
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"linkpool {version('linkpool')}\n")
        raise typer.Exit(DONE)


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command()
def up(
    meeting: Annotated[
        list[str] | None,
        typer.Option(
            "--meeting", metavar="SID", help="A meeting to keep links ready for; repeatable."
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
) -> None:
    """Run everything on this machine: Redis, API, worker, beat, and a sandbox provider.

    With LINKPOOL_NEETOCAL_SUBDOMAIN and LINKPOOL_NEETOCAL_API_KEY set, links come from
    NeetoCal; without them, from the sandbox. Ctrl-C stops all of it in order.
    """
    from pool.cli import announce, up_step
    from pool.config.production import check_production_of_up
    from pool.config.settings import load
    from pool.up.run import run as run_up

    try:
        settings = load(host=host, port=port, data_dir=data_dir)
        check_production_of_up(settings)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)
    sids = list(dict.fromkeys(meeting or []))
    for sid in sids:
        check_sid(sid, "--meeting")
    if not sids and not settings.meetings and not settings.workspaces:
        sids = ["demo"]

    raise typer.Exit(
        run_up(
            settings,
            sids=sids,
            prepare=lambda effective: up_step.prepare(effective, sids),
            seal=up_step.seal,
            announce=announce.announce,
        )
    )


@app.command()
def api(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Serve the API alone; Redis and the database are elsewhere."""
    from pool.up import ports

    settings = _for_part(data_dir, host, port)
    try:
        ports.check(settings.host, settings.port)
    except LinkpoolError as error:
        fail(str(error), exit_code(error))
    from pool.api.server.serve import serve

    try:
        serve(settings)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run a worker, which makes links and records claims and bookings."""
    _for_part(data_dir)
    become("worker", "worker")


@app.command()
def beat(data_dir: DataDir = None) -> None:
    """Run the scheduler that gives the workers their work. Running two does no harm."""
    _for_part(data_dir)
    become("worker", "beat")


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
def sandbox(context: typer.Context) -> None:
    """Run a local NeetoCal to try things against; `linkpool sandbox --help` has its flags."""
    become("sandbox", *context.args)


@app.command()
def seal(
    data_dir: DataDir = None,
    undo: Annotated[bool, typer.Option("--undo", help="Remove the seal.")] = False,
) -> None:
    """Seal the pools before a planned restart of Redis, so that no link is lost to it.

    After that no link is handed out until Redis has been restarted (or `--undo`).
    """
    from pool.durability.opening import seal_all

    settings = settings_for(data_dir)
    done, count = run(lambda: seal_all(settings, undo=undo))
    sys.stdout.write(f"{'unsealed' if undo else 'sealed'} {done} of {count} pools\n")
    raise typer.Exit(DONE if done == count else FAILED)


def _for_part(data_dir: Path | None, host: str | None = None, port: int | None = None) -> Settings:
    """Return the settings of a part, and put them into the environment of what it starts."""
    from pool.config.addresses import redis_url

    settings = settings_for(data_dir, host=host, port=port)
    os.environ.update(environment_for(data_dir))
    try:
        if settings.database_url is None:
            check_directory(settings.data_dir.absolute())  # the ledger is in there
        url = redis_url(settings)
        if not os.environ.get(f"{PREFIX}REDIS_URL_FILE"):  # the part reads the file itself
            os.environ.setdefault(f"{PREFIX}REDIS_URL", url)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir.absolute())
    os.environ[f"{PREFIX}HOST"], os.environ[f"{PREFIX}PORT"] = settings.host, str(settings.port)
    # With several API processes, the server starts each as an interpreter of its own.
    os.environ.update(safe_environ(os.environ))
    return settings
