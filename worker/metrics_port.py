"""Serve a part's own counts, and how all parts are, on LINKPOOL_METRICS_PORT.

For worker and beat, which serve nothing else. Threads of the part's first process answer; its
children, which it forks, must not hold the port. Nor may it fork while an answer is made: the child
would keep for good each lock that the answering thread held then, an import's for example.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from pool.config.addresses import database_url, redis_url
from pool.config.settings import Settings
from pool.errors import SettingsError
from pool.ledger import Ledger
from pool.operations.health import KEPT_SECONDS, Health, HealthWatch
from pool.store import Store
from pool.telemetry.metrics import BeatMetrics
from pool.up import ports

log = structlog.get_logger()

SETTING = "LINKPOOL_METRICS_PORT"
AT_ONCE = 16  # requests; more are disconnected
PATIENCE_SECONDS = 5.0  # for a client to send its request
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class HealthOnce:
    """Looks at all parts with connections of its own each time, for a thread without a loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looking = threading.Lock()
        self._looked_at = -KEPT_SECONDS
        self._health = Health(())

    def __call__(self) -> Health:
        """Return the state of all parts, at most two seconds old."""
        with self._looking:
            if time.monotonic() - self._looked_at >= KEPT_SECONDS:
                self._health = asyncio.run(self._look())
                self._looked_at = time.monotonic()
            return self._health

    async def _look(self) -> Health:
        settings = self._settings
        # No customer is asked for, so the secret key is not needed.
        store = Store.open(redis_url(settings), b"", timeout_seconds=2.0)
        ledger = Ledger.open(database_url(settings), 1)
        try:
            known = self._health.parts
            return await HealthWatch(store, ledger, settings, known=known).look()
        finally:
            await store.close()
            await ledger.close()


def beats_counts() -> bytes:
    """Return what this beat counted."""
    from prometheus_client import generate_latest

    return generate_latest(_beat_metrics().registry)


@functools.cache
def _beat_metrics() -> BeatMetrics:
    from celery.signals import after_task_publish

    metrics = BeatMetrics()

    def count(sender: str, **_: Any) -> None:
        metrics.messages.labels(sender.removeprefix("linkpool.")).inc()

    after_task_publish.connect(count, weak=False)
    return metrics


class MetricsPort:
    """The server; it listens once it is made. Raise SettingsError if the port is taken."""

    def __init__(
        self, settings: Settings, metrics: Callable[[], bytes], health: Callable[[], Health]
    ) -> None:
        assert settings.metrics_port is not None  # noqa: S101 - the caller has looked
        try:
            ports.check(settings.host, settings.metrics_port, SETTING, "port")
        except ports.PortTaken as error:
            raise SettingsError(SETTING, str(error).removeprefix(f"{SETTING}: ")) from None
        key = settings.metrics_key
        self._server = _Server((settings.host, settings.metrics_port), _Handler)
        self._server.key = key.get_secret_value().encode() if key else None
        self._server.metrics, self._server.health = metrics, health
        answering = self._server.answering
        os.register_at_fork(
            before=answering.acquire,
            after_in_parent=answering.release,
            after_in_child=self._server.socket.close,
        )

    def start(self) -> None:
        """Answer, in a thread, until the process ends."""
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    key: bytes | None
    metrics: Callable[[], bytes]
    health: Callable[[], Health]

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self.answering = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients may hang up, and other errors are logged where they happen."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "linkpool"
    sys_version = ""
    timeout = PATIENCE_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._answer(200, b'{"status":"alive"}', "application/json")
        elif path not in ("/metrics", "/healthz"):
            self._answer(404, b"see /metrics, /healthz and /livez\n")
        elif not self._has_key():
            self._answer(401, b"send the metrics key as X-API-Key or Authorization: Bearer\n")
        elif path == "/metrics":
            self._try(lambda: (200, self.server.metrics(), _TEXT))
        else:
            self._try(self._health)

    do_HEAD = do_GET  # noqa: N815 - the library looks for this name

    def _health(self) -> tuple[int, bytes, str]:
        return 200, json.dumps(self.server.health().as_json()).encode(), "application/json"

    def _try(self, make: Callable[[], tuple[int, bytes, str]]) -> None:
        try:
            with self.server.answering:
                made = make()
        except Exception:
            log.exception("the metrics port could not answer")
            made = (500, b"the answer could not be made; the log has the details\n", "text/plain")
        self._answer(*made)

    def _has_key(self) -> bool:
        wanted = self.server.key
        if wanted is None:
            return True
        bearer = self.headers.get("authorization", "")
        given = self.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
        return hmac.compare_digest(given.strip().encode(), wanted)

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: monitors ask every few seconds."""
