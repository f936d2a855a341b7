"""Write the refusal of a request that is not served, as the last answer on its connection."""

from __future__ import annotations

from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pool.api.claim_path.http_protocol import ClaimProtocol
from pool.api.http import problems
from pool.api.http.leaving import Leaving
from pool.api.http.messages import Answer, request_id


class Refusal(Leaving):
    """The protocol of a connection from its refusal on: it writes the refusal in its turn."""

    def __init__(self, protocol: ClaimProtocol, answer: Answer) -> None:
        super().__init__(protocol, protocol.way_out)
        self._answer = answer

    async def run_asgi(self, _app: Any) -> None:
        """Write the refusal in its turn; the server calls this for a pipelined request."""
        self.say()

    def say(self) -> None:
        """Write the refusal and end the connection."""
        self.leave(_bytes_of(self._answer))


def _bytes_of(answer: Answer) -> bytes:
    status, headers, body = answer
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


def problem(name: str, detail: str) -> Answer:
    """Return a problem as the last answer on a connection."""
    status, headers, body = problems.render(problems.BY_NAME[name], detail, "")
    headers += [
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", request_id(())),
    ]
    return status, headers, body


async def too_many(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Refuse every request on a connection that is one too many."""
    status, headers, body = problem("too-many-connections", "the server has reached its limit")
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
