"""Answer in linkpool's place by a script, and keep the requests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

CLAIM = {
    "meeting_sid": "demo",
    "customer_id": "order-1",
    "slug": "one-off-1",
    "url": "https://acme.neetocal.com/one-off-1",
    "state": "claimed",
    "source": "pool",
    "claimed_at": "2026-11-22T06:00:00.000Z",
    "consumed_at": None,
    "booking_sid": None,
}
CLAIMED = {
    "claim": CLAIM,
    "reused": False,
    "embed": {
        "type": "inline",
        "organization": "acme",
        "slug": "one-off-1",
        "queryParams": {"dynamicHeight": True},
    },
}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any
    at: float


@dataclass(frozen=True)
class Answer:
    """One answer of the script."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"


DROP = Answer(0)  # the connection is closed without a word
HANG = Answer(-1)  # nothing is answered for as long as the server runs


def problem(name: str, status: int, retry_after: str | None = None, **more: Any) -> Answer:
    """Return a problem document."""
    body = {"type": f"/problems/{name}", "title": "T", "status": status, "detail": "because"}
    headers = {"X-Request-Id": "req-1"} | ({"Retry-After": retry_after} if retry_after else {})
    return Answer(status, body | more, headers, "application/problem+json")


class ScriptedLinkpool:
    """A server that answers each request by the next of `script`, and the last one again and again.

    It listens only within its `with` block.
    """

    def __init__(self, port: int = 0) -> None:
        self.script: list[Answer | Callable[[Asked], Answer]] = [Answer(201, CLAIMED)]
        self.asked: list[Asked] = []
        self._over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                outer._answer(self)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._server.server_bind()
        self._server.server_activate()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", 0))
        content = request.rfile.read(length)
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(content) if content else None
        asked = Asked(request.command, request.path, headers, body, time.monotonic())
        self.asked.append(asked)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        answer = step(asked) if callable(step) else step
        if answer.status <= 0:
            if answer is HANG:
                self._over.wait()
            request.close_connection = True
            return
        sent = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        data = b"" if answer.body is None else sent.encode()
        request.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, **answer.headers}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
