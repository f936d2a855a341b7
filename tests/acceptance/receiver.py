"""Receive notices as the webhook of a chat does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """A webhook that takes what Slack's take; at `/closed` it refuses."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refuse = self.path.endswith("/closed")
                if not refuse:
                    receiver.texts.append(json.loads(body)["text"])
                self.send_response(503 if refuse else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/T0/B0/secret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def about(self, words: str) -> list[str]:
        """Return what arrived with these words in it."""
        return [text for text in list(self.texts) if words in text]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
