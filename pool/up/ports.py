"""Find free ports on this machine."""

from __future__ import annotations

import errno
import secrets
import socket

from pool.errors import LinkpoolError, SettingsError

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections: such a connection
# could otherwise hold the port just when a part is started again.
_FIRST, _LAST = 20_000, 32_000


class PortTaken(LinkpoolError):
    """Another program listens there now; it may be one of ours that is about to end."""


def is_free(port: int) -> bool:
    """Return True if a server could listen on this port now."""
    return _refusal(LOOPBACK, port) is None


def choose(*preferred: int | None) -> int:
    """Return the first free one of these ports, else any free one."""
    for port in preferred:
        if port and port <= 65_535 and is_free(port):
            return port
    for _ in range(100):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if is_free(port):
            return port
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def check(host: str, port: int, setting: str = "LINKPOOL_PORT", advice: str = "--port") -> None:
    """Raise PortTaken, or SettingsError, in a line that says what to do, if no server could listen
    there.
    """
    error = _refusal(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise PortTaken(
            f"{setting}: {host}:{port} is in use by another program; stop it, "
            f"or choose another {advice}"
        )
    raise SettingsError(
        "LINKPOOL_HOST", f"cannot listen on {host}:{port}: {error.strerror or error}"
    )


def reachable(host: str) -> str:
    """Return the host, as written in a URL, at which this machine reaches a server on `host`."""
    host = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compared
    return f"[{host}]" if ":" in host else host


def _refusal(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()  # Linux lets two bind with SO_REUSEADDR, but only one listen
    except OSError as error:
        return error
    return None
