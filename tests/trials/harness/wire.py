"""Speak HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import msgspec

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply; status 0 if the connection ended without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """Return the problem's name, or nothing."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return str(found["type"]).removeprefix("/problems/")


def request(
    method: bytes, path: bytes, *headers: tuple[bytes, bytes], body: bytes | None = None
) -> bytes:
    """Return the bytes of a request; nothing is escaped or checked."""
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: linkpool"]
    lines += [name + b": " + value for name, value in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def exchange(port: int, sent: bytes, *, then: bytes = b"", times: int = 0) -> Reply:
    """Send bytes, then `then` this many times or until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        try:
            connection.sendall(sent)
            for _ in range(times):
                connection.sendall(then)
        except ConnectionError:
            pass  # it has answered already
        return read(connection)


def read(connection: socket.socket) -> Reply:
    """Return the next answer."""
    said = b""
    while True:
        head, ended, body = said.partition(b"\r\n\r\n")
        headers = {}
        if ended:
            status, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (s.partition(": ") for s in lines)}
            if len(body) >= int(headers.get("content-length", 0)):
                return Reply(int(status.split()[1]), headers, body)
        try:
            piece = connection.recv(65_536)
        except ConnectionError:
            piece = b""
        if not piece:
            return Reply(0, headers, said)
        said += piece
