"""Take the steps of `linkpool up` that need the ledger, each in a process that ends.

While its parts run, `linkpool up` only waits. Imports for these steps would stay in its memory
unused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pool.config.settings import Settings
from pool.up import leash
from pool.up.data_dir import ENVIRONMENT, PARTS_LOCK, DataDirectory
from pool.up.modules import module, safe_environ
from pool.up.run import StepFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine

_OURS = "linkpool: "


def take(settings: Settings, step: str, *sids: str) -> None:
    """Take a step with the settings of the parts, and wait for it. Raise StepFailed."""
    data = DataDirectory(settings.data_dir)
    ours = json.loads(data.file(ENVIRONMENT).read_text("utf-8"))
    done = subprocess.run(  # noqa: S603 - our own command
        leash.command(
            sys.executable,
            str(data.file(PARTS_LOCK)),
            "",
            [*module("pool.cli.up_step"), step, *sids],
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
        raise StepFailed((lines or [f"{step} failed"])[-1].removeprefix(_OURS), done.returncode)
    for line in lines:
        sys.stderr.write(f"{line}\n")


def main(step: str, sids: list[str]) -> int:
    """Take a step in this process. Return the exit code, 2 when a setting is wrong."""
    import asyncio
    import gc

    gc.disable()  # the process ends before there is anything to collect
    from pool.config.settings import load
    from pool.errors import LinkpoolError, SettingsError
    from pool.telemetry.logs import configure_logging

    configure_logging(log_format="console", log_level="warning")
    try:
        asyncio.run(_step(load(), step, sids))
    except LinkpoolError as error:
        sys.stderr.write(f"{_OURS}{error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    finally:
        gc.freeze()  # otherwise Python looks through all that was imported once more as it ends
    return 0


def _step(settings: Settings, step: str, sids: list[str]) -> Coroutine[object, object, None]:
    from pool.bootstrap import prepare

    return prepare(settings, sids) if step == "prepare" else _seal(settings)


async def _seal(settings: Settings) -> None:
    from pool.durability.opening import open_durability

    async with open_durability(settings) as parts:
        await parts.recovery.seal(await parts.pools())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
