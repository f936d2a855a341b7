"""Share among all commands: settings, exit codes, and the way to run their work."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from pool.config.settings import PREFIX, Settings, load
from pool.errors import (
    LedgerUnavailable,
    LinkpoolError,
    RequestRefused,
    SettingsError,
    StoreUnavailable,
    Unknown,
)
from pool.model.links import is_sid
from pool.telemetry.logs import configure_logging
from pool.up.data_dir import ENVIRONMENT, check_directory, check_file

if TYPE_CHECKING:
    from pool.compose import Parts
    from pool.ledger import Ledger

ACTOR = "command line"  # in the audit log
DONE, FAILED, WRONG_USAGE, NOT_REACHABLE, NOT_FOUND = 0, 1, 2, 3, 4

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where linkpool keeps its files (LINKPOOL_DATA_DIR)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Kept in the audit log.")]

T = TypeVar("T")


def settings_for(data_dir: Path | None, **overrides: Any) -> Settings:
    """Return the settings of a command; those of a running `linkpool up` stand in for unset ones.

    End the process with code 2 when a setting is wrong.
    """
    try:
        return load(environment_for(data_dir), data_dir=data_dir, **overrides)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)


def environment_for(data_dir: Path | None) -> dict[str, str]:
    """Return this environment, with the settings of a `linkpool up` that runs on the directory."""
    environ = dict(os.environ)
    if {f"{PREFIX}REDIS_URL", f"{PREFIX}REDIS_URL_FILE"} & environ.keys():
        return environ
    directory = data_dir or Path(environ.get(f"{PREFIX}DATA_DIR") or ".linkpool")
    return _of_running_up(directory) | environ


def _of_running_up(directory: Path) -> dict[str, str]:
    # This file decides which Redis and database a command works on, so nobody else may write it.
    try:
        if (directory / ENVIRONMENT).exists():
            check_directory(directory)
            check_file(directory / ENVIRONMENT)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)
    except OSError:
        return {}
    try:
        kept = json.loads((directory / ENVIRONMENT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in kept.items()}


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Return a coroutine's result; a typed error ends the process with one line and its code."""

    async def call() -> T:
        return await work()

    # To stderr, and only what matters: stdout is the command's result.
    configure_logging(log_format="console", log_level="warning")
    try:
        return asyncio.run(call())
    except KeyboardInterrupt:
        raise typer.Exit(DONE) from None
    except LedgerUnavailable as error:
        if error.refusal:
            fail(f"{PREFIX}DATABASE_URL: {error.refusal}", WRONG_USAGE)
        fail(str(error), NOT_REACHABLE)
    except LinkpoolError as error:
        details = getattr(error, "errors", ())
        text = "; ".join(details) if len(details) > 1 or details[:1] != (str(error),) else ""
        fail(f"{error}{': ' + text if text else ''}", exit_code(error))


def on_ledger(
    settings: Settings, work: Callable[[Ledger], Awaitable[T]], *, must_exist: bool = True
) -> T:
    """Return the result of `work` on the ledger alone; Redis is not asked.

    Unless `must_exist` is off, end the process where SQLite's file is not there yet.
    """
    from pool.config.addresses import database_url
    from pool.ledger import Ledger

    if must_exist and settings.database_url is None and not settings.sqlite_path.exists():
        fail(
            f"there is no database at {settings.sqlite_path.absolute()}; name the directory that "
            f"linkpool runs on with --data-dir, or set {PREFIX}DATABASE_URL",
            WRONG_USAGE,
        )

    async def call() -> T:
        ledger = Ledger.open(database_url(settings))
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return run(call)


def on_parts(settings: Settings, work: Callable[[Parts], Awaitable[T]]) -> T:
    """Return the result of `work` on all parts."""
    from pool.compose import compose

    async def call() -> T:
        async with compose(settings) as parts:
            return await work(parts)

    return run(call)


def exit_code(error: LinkpoolError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, Unknown):
        return NOT_FOUND
    if isinstance(error, SettingsError | RequestRefused):
        return WRONG_USAGE
    if isinstance(error, StoreUnavailable | LedgerUnavailable):
        return NOT_REACHABLE
    return FAILED


def fail(message: str, code: int) -> NoReturn:
    """End the process with one line on stderr."""
    sys.stderr.write(f"linkpool: {message}\n")
    raise typer.Exit(code)


def check_sid(sid: str, option: str = "") -> None:
    """End the process if a SID is malformed; `option` is the one that it was given by."""
    if not is_sid(sid):
        named = f"{option} {sid!r}" if option else repr(sid)
        fail(f"{named}: a SID has 1 to 64 letters, digits, - and _", WRONG_USAGE)
