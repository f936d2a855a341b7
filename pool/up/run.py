"""Run `linkpool up`, from taking the data directory to giving it back."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pool.config.settings import PREFIX, Settings
from pool.errors import LinkpoolError, SettingsError
from pool.up import ports
from pool.up.data_dir import ADMIN_KEY, ENVIRONMENT, DataDirectory
from pool.up.lifecycle import Interrupted, Lifecycle, PartFailed
from pool.up.parts import Commands, Plan, make_plan
from pool.up.signals import StopRequest
from pool.up.supervisord import ask_to_end, check_open_files

_PREVIOUS_SECONDS = 30.0
_LOG_LINES = 20


@dataclass(frozen=True)
class Running:
    """The addresses of a started `linkpool up`."""

    api_url: str
    ops_url: str
    admin_key: str | None = field(repr=False)  # only when this run made it
    admin_key_place: str  # where it is kept: a file, or the setting it came from
    admin_key_word: str  # what a shell expands to the key, between double quotes
    sandbox_url: str | None
    demo_url: str | None
    data_dir: Path
    sids: tuple[str, ...]
    parts: tuple[str, ...]


class StepFailed(LinkpoolError):
    """A step that another process took for `up` has failed; `code` is its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class PreviousRunLives(LinkpoolError):
    """Parts of an earlier run have not ended in time."""


def run(
    settings: Settings,
    *,
    sids: list[str],
    prepare: Callable[[Settings], None],
    seal: Callable[[Settings], None],
    announce: Callable[[Running], None],
    commands: Commands | None = None,
) -> int:
    """Start everything, call `announce`, and serve until SIGINT, SIGTERM or SIGHUP.

    `prepare` runs each time Redis has been started, before the API is started; `seal` when all
    parts but Redis have stopped (not when Redis is the user's own). Both get the settings of the
    parts, with Redis, the secrets and the workspace filled in. They run in this thread, which
    must be the main one, and a stop waits for them.

    Return the exit code: 0 after an orderly stop, 2 when a setting is wrong, 1 when something else
    did not start, with a line on stderr that says what. No process is left in any case, nor when
    this one is killed.
    """
    if sys.platform == "win32":
        _say("`up` needs Linux or macOS; on Windows run it in WSL or in Docker")
        return 1
    umask = os.umask(0o077)  # all files hold either secrets or customers
    try:
        data = DataDirectory(settings.data_dir)
        with data.locked(), StopRequest() as stop:
            _wait_for_previous(data, stop)
            ports.check(settings.host, settings.port)
            check_open_files()
            plan = make_plan(settings, data, sids, commands or Commands())
            lifecycle = Lifecycle(plan, data, stop, prepare, _say)
            try:
                lifecycle.bring_up()
                announce(_running(plan, data, sids))
                lifecycle.keep_up()
            finally:
                lifecycle.take_down(seal)
                data.file(ENVIRONMENT).unlink(missing_ok=True)
    except Interrupted:
        return 0
    except PartFailed as failure:
        _say(str(failure))
        for line in _last_lines(failure.log):
            _say(f"  {line}")
        return 1
    except SettingsError as error:
        _say(str(error))
        return 2
    except StepFailed as failure:
        _say(str(failure))
        return 2 if failure.code == 2 else 1
    except LinkpoolError as error:
        _say(str(error))
        return 1
    finally:
        os.umask(umask)
    return 0


def _running(plan: Plan, data: DataDirectory, sids: list[str]) -> Running:
    place, word = _admin_key_place(plan, data)
    sandbox = f"http://{ports.LOOPBACK}:{plan.sandbox_port}" if plan.sandbox_port else None
    return Running(
        api_url=plan.api_url,
        ops_url=f"{plan.api_url}/ops",
        admin_key=data.admin_key() if ADMIN_KEY in data.made else None,
        admin_key_place=place,
        admin_key_word=word,
        sandbox_url=sandbox,
        demo_url=f"{plan.api_url}/demo" if plan.has_demo else None,
        data_dir=data.path,
        sids=tuple(sids),
        parts=tuple(part.name for part in plan.parts),
    )


def _admin_key_place(plan: Plan, data: DataDirectory) -> tuple[str, str]:
    if not plan.keeps_admin_key:
        variable = f"{PREFIX}ADMIN_KEY"
        if file := plan.environ.get(f"{variable}_FILE"):
            return str(Path(file).absolute()), _contents(Path(file).absolute())
        return variable, f"${variable}"
    path = data.file(ADMIN_KEY)
    return str(path), _contents(path)


def _contents(path: Path) -> str:
    return f"$(cat {shlex.quote(str(path))})"


def _wait_for_previous(data: DataDirectory, stop: StopRequest) -> None:
    """Wait until the parts of an earlier run have ended: after a kill -9 they take a moment."""
    if data.no_part_lives():
        return
    _say("the parts of an earlier run are still stopping")
    ask_to_end(data.socket)  # with a leash it is stopping already; macOS has none
    deadline = time.monotonic() + _PREVIOUS_SECONDS
    while not data.no_part_lives():
        if stop.wait(0.02):
            raise Interrupted
        if time.monotonic() > deadline:
            raise PreviousRunLives(
                f"parts of an earlier run on {data.path} are still there; end them first"
            )


def _last_lines(log: Path) -> list[str]:
    try:
        with log.open(errors="replace") as file:
            return [line.rstrip() for line in deque(file, maxlen=_LOG_LINES)]
    except OSError:
        return []


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed
        print(f"linkpool: {line}", file=sys.stderr, flush=True)
