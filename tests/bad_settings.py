"""Run commands of linkpool in this process, up to where they would begin to serve."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
import typer
from prometheus_client import values

from pool.cli import main as commands
from pool.cli.main import app
from pool.up import ports
from worker.__main__ import main as run_part

# Imported before a command sets its directory: else all tests of this process would share counts.
assert values.ValueClass.__name__ == "MutexValue"
STARTED = 77  # the exit code of a command that found nothing wrong


@dataclass(frozen=True, slots=True)
class Done:
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str


def _begins(*_: object, **__: object) -> None:
    raise SystemExit(STARTED)


def attempt(words: str, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Done:
    """Run `linkpool words` with this environment alone. Return what it said.

    Whatever would serve or start a process ends with STARTED instead.
    """
    with monkeypatch.context() as patched:
        for name in list(os.environ):
            if name.startswith(("LINKPOOL_", "PROMETHEUS_")):
                patched.delenv(name)
        # Some other program may use the default port, and that would be found first.
        for name, value in {"LINKPOOL_PORT": str(ports.choose()), **environ}.items():
            patched.setenv(name, value)
        patched.setattr("uvicorn.Config", _begins)
        patched.setattr("worker.app.make_app", _begins)
        # It is for good, and the other tests of this process are no workers.
        patched.setattr("worker.imports.keep_current_directory_out", lambda: None)
        patched.setattr("pool.up.run.make_plan", _begins)
        patched.setattr(commands, "become", lambda _module, role: sys.exit(run_part(role)))
        out, err, code = io.StringIO(), io.StringIO(), 0
        before = dict(os.environ)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                typer.main.get_command(app).main(words.split(), "linkpool")
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            finally:
                os.environ.clear()
                os.environ.update(before)
        return Done(code, out.getvalue(), err.getvalue())
