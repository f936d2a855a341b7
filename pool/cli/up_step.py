"""Take the steps of `linkpool up` that need the ledger.

While its parts run, `linkpool up` only waits, and what these steps import would stay in its memory
unused. So another process prepares the pools, and ends. When they are sealed, `up` itself is about
to end: it has half of the imports already, and takes this step itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pool.config.settings import Settings
from pool.up import leash
from pool.up.data_dir import ENVIRONMENT, PARTS_LOCK, DataDirectory
from pool.up.modules import module, safe_environ
from pool.up.run import StepFailed

_OURS = "linkpool: "


def prepare(settings: Settings, sids: list[str]) -> None:
    """Prepare the pools with the settings of the parts, and wait for it. Raise StepFailed."""
    data = DataDirectory(settings.data_dir)
    ours = json.loads(data.file(ENVIRONMENT).read_text("utf-8"))
    done = subprocess.run(  # noqa: S603 - our own command
        leash.command(
            sys.executable,
            str(data.file(PARTS_LOCK)),
            "",
            [*module("pool.cli.up_step"), *sids],
        ),
        env={**safe_environ(os.environ | ours), leash.PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for `up`, which waits for the step
        check=False,
    )
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        raise StepFailed((lines or ["prepare failed"])[-1].removeprefix(_OURS), done.returncode)
    for line in lines:
        sys.stderr.write(f"{line}\n")


def seal(settings: Settings) -> None:
    """Seal all pools, in this process, which ends next. Raise LinkpoolError."""
    import asyncio

    from pool.durability.opening import seal_all

    _log_what_matters()
    asyncio.run(seal_all(settings))


def main(sids: list[str]) -> int:
    """Prepare the pools in this process. Return the exit code, 2 when a setting is wrong."""
    import asyncio
    import gc

    gc.disable()  # the process ends before there is anything to collect
    from pool import bootstrap
    from pool.config.settings import load
    from pool.errors import LinkpoolError, SettingsError

    _log_what_matters()
    try:
        asyncio.run(bootstrap.prepare(load(), sids))
    except LinkpoolError as error:
        sys.stderr.write(f"{_OURS}{error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    finally:
        gc.freeze()  # otherwise Python looks through all that was imported once more as it ends
    return 0


def _log_what_matters() -> None:
    from pool.telemetry.logs import configure_logging

    configure_logging(log_format="console", log_level="warning")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
