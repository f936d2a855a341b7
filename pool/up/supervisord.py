"""Configure, start, command and end supervisord, the process manager of `linkpool up`."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pool.errors import LinkpoolError, SettingsError
from pool.up import leash
from pool.up.data_dir import LOGS, PARTS_LOCK, SUPERVISOR_CONFIG, DataDirectory
from pool.up.modules import module
from pool.up.parts import Part

OUTPUT = "supervisord-output"  # the name of the log of what supervisord prints itself
_RPC_TIMEOUT_SECONDS = 5.0
_OPEN_FILES = 1024  # that supervisord insists on
_ALREADY_STARTED, _NOT_RUNNING = 60, 70

_HEAD = """\
; Written by linkpool at each start.
[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
nodaemon=true
silent=true
logfile={logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={directory}/supervisord.pid
childlogdir={logs}
"""
# stopasgroup: with true, a worker's children would lose their tasks. Their parent ends them in
# order, and the remaining ones are killed as a group. startretries: a part that cannot start is
# tried again while `up` runs (pool/up/watch.py keeps the pauses between the tries short).
_PROGRAM = """
[program:{name}]
command={command}
priority={order}
autostart={first}
autorestart=true
startsecs=1
startretries=100000000
stopsignal=TERM
stopwaitsecs={stop_seconds}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def check_open_files() -> None:
    """Raise LinkpoolError if this process may not open as many files as supervisord insists on."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < _OPEN_FILES:
        raise LinkpoolError(
            f"no process here may open more than {most} files, and `linkpool up` needs "
            f"{_OPEN_FILES}; raise the hard limit (ulimit -Hn, LimitNOFILE)"
        )


class Unreachable(LinkpoolError):
    """supervisord does not answer: it has ended, has not started yet, or hangs."""


@dataclass(frozen=True)
class ProcessState:
    """The state of one part, as supervisord reports it."""

    name: str
    state: str  # supervisord's word: RUNNING, STARTING, BACKOFF, STOPPING, EXITED, STOPPED, FATAL
    pid: int  # 0 while it does not run
    started_at: int  # seconds of the epoch, of its last start; 0 before the first
    ended_seconds_ago: int

    @property
    def alive(self) -> bool:
        """Return True while the part has a process."""
        return self.pid != 0


class Supervisord:
    """One supervisord for these parts, tied to this process by a leash.

    Its commands raise Unreachable. Not thread-safe, and `start` must be called by the main
    thread: on Linux the leash watches the thread that started the process.
    """

    def __init__(
        self, data: DataDirectory, parts: tuple[Part, ...], environ: Mapping[str, str]
    ) -> None:
        self._data = data
        self._environ = {**environ, leash.PARENT: str(os.getpid())}
        self._socket = data.socket
        self._process: subprocess.Popen[bytes] | None = None
        data.write(SUPERVISOR_CONFIG, _configuration(data, parts))
        self._server = _client(self._socket)

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        self._socket = self._data.socket  # `close` may have removed its directory
        self._socket.unlink(missing_ok=True)
        command = [*module("supervisor.supervisord"), "-n"]
        command += ["-c", str(self._data.file(SUPERVISOR_CONFIG))]
        lock = str(self._data.file(PARTS_LOCK))
        with self._data.log(OUTPUT).open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                leash.command(sys.executable, lock, "", command),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for `up`, which stops the parts in order
            )

    @property
    def alive(self) -> bool:
        """Return True while its process runs."""
        return self._process is not None and self._process.poll() is None

    def states(self) -> dict[str, ProcessState]:
        """Return the state of every part."""
        with _errors():
            infos = cast(list[dict[str, Any]], self._server.supervisor.getAllProcessInfo())
        return {
            str(info["name"]): ProcessState(
                name=str(info["name"]),
                state=str(info["statename"]),
                pid=int(info["pid"]),
                started_at=int(info["start"]),
                ended_seconds_ago=max(0, int(info["now"]) - int(info["stop"])),
            )
            for info in infos
        }

    def start_part(self, name: str) -> None:
        """Start a part, unless it runs, without waiting for it."""
        with _errors(), _unless(_ALREADY_STARTED):
            self._server.supervisor.startProcess(name, False)

    def stop_part(self, name: str) -> None:
        """Ask a part to stop, if it runs, without waiting for it."""
        with _errors(), _unless(_NOT_RUNNING):
            self._server.supervisor.stopProcess(name, False)

    def shut_down(self) -> None:
        """Ask it to stop the remaining parts and to end, without waiting for it."""
        with _errors():
            self._server.supervisor.shutdown()

    def close(self) -> None:
        """Close the connection and make sure that the process has ended."""
        with contextlib.suppress(OSError):
            self._server("close")()
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._data.path:
            with contextlib.suppress(OSError):
                self._socket.parent.rmdir()


def ask_to_end(path: Path) -> None:
    """Ask the supervisord that listens on this socket, if any, to stop its parts and end."""
    with contextlib.suppress(Unreachable), _errors(), _client(path) as server:
        server.supervisor.shutdown()


def kill_group(pid: int, how: signal.Signals) -> None:
    """Send a signal to all that is left of a part, whose process led a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, how)


def _client(path: Path) -> xmlrpc.client.ServerProxy:
    return xmlrpc.client.ServerProxy("http://linkpool", transport=_OverUnixSocket(path))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("linkpool", timeout=_RPC_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class _OverUnixSocket(xmlrpc.client.Transport):
    # supervisor's own transport has no time-out: `up` would hang with supervisord.
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._mine: _UnixConnection | None = None

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002
        if self._mine is None:
            self._mine = _UnixConnection(self._path)
        return self._mine

    def close(self) -> None:
        mine, self._mine = self._mine, None
        if mine is not None:
            mine.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        raise Unreachable(f"supervisord does not answer: {error}") from None


@contextlib.contextmanager
def _unless(code: int) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != code:
            raise


def _configuration(data: DataDirectory, parts: tuple[Part, ...]) -> str:
    lock = str(data.file(PARTS_LOCK))
    text = _HEAD.format(
        socket=_value(str(data.socket)),
        directory=_value(str(data.path)),
        logs=_value(str(data.file(LOGS))),
    )
    for part in parts:
        command = leash.command(
            sys.executable, lock, part.alone, list(part.command), niceness=part.niceness
        )
        text += _PROGRAM.format(
            name=part.name,
            command=_value(shlex.join(command)),
            order=part.order,
            first=str(part.first).lower(),
            stop_seconds=part.stop_seconds,
            log=_value(str(data.log(part.name))),
        )
    return text


def _value(text: str) -> str:
    """Return a value for supervisord's configuration file, which cuts or expands some characters.

    Raise SettingsError for those. Quoting does not help, because some values are expanded twice.
    """
    if any(bad in text for bad in ("%", " ;", " #", "\t", "\n", "\r")):
        raise SettingsError(
            "LINKPOOL_DATA_DIR", f'no path may contain "%", " ;", " #" or a line break: {text!r}'
        )
    return text
