"""Run commands of linkpool in processes forked from one that has imported all of it.

An interpreter of its own for each of a hundred commands would spend most of its time on imports.
Each command still is a process with an environment, a directory and streams of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_IMPORTED_LATE = (
    "pool.bootstrap",
    "pool.ledger.postgresql",
    "pool.up.run",
    "alembic.command",
    "anyio._backends._asyncio",
    "httpcore",
    "rich.table",
    "sqlalchemy.ext.asyncio",
)
_MESSAGE_BYTES = 1 << 17
_STREAMS = 3


class WarmCommands:
    """A process with everything imported, in this environment, that is forked for each command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process; it ends by itself when this one does."""
        self._line.close()
        self._process.wait()

    def run(
        self,
        words: Sequence[str],
        *,
        environ: Mapping[str, str],
        directory: Path,
        seconds: float,
        said: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `linkpool words…`. Return what it wrote and its exit code, or raise
        subprocess.TimeoutExpired.
        """
        with contextlib.ExitStack() as opened:
            given, out, err = streams = [
                opened.enter_context(tempfile.TemporaryFile()) for _ in range(_STREAMS)
            ]
            given.write((said or "").encode())
            given.seek(0)
            ours, theirs = os.pipe()
            outcome = opened.enter_context(os.fdopen(ours, "rb", 0))
            order = {"words": list(words), "environ": dict(environ), "directory": str(directory)}
            handed = [*(each.fileno() for each in streams), theirs]
            socket.send_fds(self._line, [json.dumps(order).encode()], handed)
            os.close(theirs)
            pid = int(outcome.readline())
            if not select.select([outcome], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), seconds)
            code = os.waitstatus_to_exitcode(int(outcome.readline()))
            return subprocess.CompletedProcess(list(words), code, _text(out), _text(err))


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


# -- in the process that is forked ------------------------------------------------------


def serve(line: socket.socket) -> None:
    """Fork for each order that comes, until nobody is left to send one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, handed, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, _STREAMS + 1)
        if not order:
            return
        if os.fork() == 0:
            line.close()
            _watch(json.loads(order), *handed)
        for each in handed:
            os.close(each)


def _watch(order: dict[str, object], *handed: int) -> None:
    """Run the command in a child, and write its pid and then its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, outcome = handed
    pid = os.fork()
    if pid == 0:
        os.close(outcome)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _become(**order)  # type: ignore[arg-type]
    os.write(outcome, b"%d\n" % pid)
    os.write(outcome, b"%d\n" % os.waitpid(pid, 0)[1])
    os._exit(0)


def _become(words: list[str], environ: dict[str, str], directory: str) -> None:
    """Run the command line as `python -m pool.cli` does. Never return."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(directory)
    sys.argv = ["linkpool", *words]
    runpy.run_module("pool.cli", run_name="__main__", alter_sys=True)
    sys.exit()


def import_all() -> None:
    """Import every command, and what they import only when they are run."""
    import pool.cli

    for module in pkgutil.iter_modules(pool.cli.__path__, "pool.cli."):
        if module.name != "pool.cli.__main__":
            importlib.import_module(module.name)
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    # Each command would read all authorities' certificates again.
    import httpx
    from httpx._transports import default

    default.create_ssl_context = functools.cache(httpx.create_ssl_context)
    default.create_ssl_context(verify=True, cert=None, trust_env=False)


if __name__ == "__main__":
    sys.path[0] = ""  # as for -m
    import_all()
    gc.freeze()  # no child looks through what is here already, which would copy it
    serve(socket.socket(fileno=int(sys.argv[1])))
