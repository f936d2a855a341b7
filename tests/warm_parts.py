"""Start parts of linkpool in processes forked from one that has imported their libraries.

Trials start and kill hundreds of parts, which would spend most of their time on the same imports.
Each part still is a process with an environment, a session and a log of its own. What a process
chooses while it imports (a name of its own, the metrics' directory) is left to each.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.processes import PYTHON, Process

_LIBRARIES = (
    "asyncio", "billiard.pool", "celery", "celery.app.amqp", "celery.app.base",
    "celery.apps.worker", "celery.beat", "celery.concurrency.prefork", "celery.worker.autoscale",
    "celery.worker.consumer", "email.message", "fastapi", "fastapi.responses", "h11", "httpcore",
    "httptools", "httpx", "importlib.metadata", "jinja2", "jwt", "kombu", "kombu.transport.redis",
    "logging.config", "msgspec", "multiprocessing.connection", "pydantic", "pydantic_settings",
    "redis", "redis.asyncio", "rich.console", "sqlalchemy", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite", "sqlite3", "starlette.responses", "structlog", "uvicorn",
    "uvicorn.config", "uvicorn.protocols.http.httptools_impl", "uvloop",
)  # fmt: skip
# linkpool itself, as its parts import it.
_PARTS = (
    "pool.api.server.app", "pool.api.server.serve", "pool.bootstrap", "worker.app", "worker.ending",
    "worker.imports", "worker.metrics_port", "worker.reloading", "worker.scaling", "worker.tasks",
)  # fmt: skip
_MESSAGE_BYTES = 1 << 17


class WarmProcess(Process):
    """`python -m MODULE WORDS…` as a `Process` runs it, but with its libraries imported already."""

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__([PYTHON, "-m", *words], log, environ=environ, port=port)
        self._words = list(words)

    def start(self) -> None:
        """Start it. Return once it listens, if it has a port. Raise DidNotStart."""
        environ = dict(os.environ if self._environ is None else self._environ)
        if "LD_PRELOAD" in environ:  # which works from a program's beginning on only
            super().start()
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._process = _warmth().start(self._words, environ, self._log)  # type: ignore[assignment]
        if self._port is not None:
            self._wait_for_port(self._port)


class Forked:
    """A process that is another's child; what `Process` asks of a `subprocess.Popen`."""

    def __init__(self, pid: int, words: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(words)
        self._line: int | None = None
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._line = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it runs, then 0, however it ended."""
        if self._line is not None and select.select([self._line], [], [], 0)[0]:
            os.close(self._line)
            self._line = None
        return None if self._line is not None else 0

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. Raise subprocess.TimeoutExpired."""
        if self._line is not None:
            select.select([self._line], [], [], timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return 0

    def send_signal(self, sign: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._line is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._line, sign)


class Warmth:
    """A process with the libraries imported, that is forked for each part."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_parts", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[1],
            )
        atexit.register(self.close)

    def start(self, words: Sequence[str], environ: Mapping[str, str], log: Path) -> Forked:
        """Start a part in the directory of this process."""
        order = {"words": list(words), "environ": dict(environ), "directory": str(Path.cwd())}
        with log.open("ab") as output:
            socket.send_fds(self._line, [json.dumps(order).encode()], [output.fileno()])
        return Forked(int(self._line.recv(32)), words)

    def close(self) -> None:
        """End the process; it ends by itself when this one does. What it started runs on."""
        self._line.close()
        self._process.wait()


_found: dict[int, Warmth] = {}


def _warmth() -> Warmth:
    """Return that of this process, which a fork of it cannot use beside it."""
    if os.getpid() not in _found:
        _found[os.getpid()] = Warmth()
    return _found[os.getpid()]


# -- in the process that is forked ------------------------------------------------------


def serve(line: socket.socket) -> None:
    """Fork for each order that comes, until nobody is left to send one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, handed, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, 1)
        if not order:
            return
        pid = os.fork()
        if pid == 0:
            line.close()
            _become(handed[0], **json.loads(order))
        os.close(handed[0])
        line.send(b"%d" % pid)


def _become(output: int, words: list[str], environ: dict[str, str], directory: str) -> NoReturn:
    """Run a module as `python -m` does. Never return."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(directory)
    sys.argv = list(words)
    messages: Any = sys.modules["pool.api.http.messages"]
    messages._process = secrets.token_hex(4)  # the name in its requests' ids
    gc.enable()
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    sys.exit()


def import_all() -> None:
    """Import the libraries and linkpool, and let each process choose where it keeps its counts."""
    importlib.import_module("pool.store")  # before redis, which it spares its metrics
    for module in (*_LIBRARIES, *_PARTS):
        importlib.import_module(module)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]
    # This library looks for its directory in the environment when it is imported.
    from prometheus_client import values

    chosen = functools.cache(values.get_value_class)
    values.ValueClass = lambda *about, **more: chosen()(*about, **more)


if __name__ == "__main__":
    gc.disable()
    import_all()
    gc.freeze()  # no child looks through what is here already, which would copy it
    serve(socket.socket(fileno=int(sys.argv[1])))
