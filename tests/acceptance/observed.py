"""Watch a running linkpool by a real Prometheus, and ask it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from product import wait_until

from pool.up import ports
from tests.debian import debian
from tests.ending import end

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "linkpool.json").read_text("utf-8"))


class Prometheus:
    """A Prometheus that scrapes every second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self.close = self._http.close

    def get(self, path: str, **params: str) -> Any:
        """Return the content of an API answer's envelope."""
        answer = self._http.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def ready(self) -> bool:
        """Return True if Prometheus has scraped linkpool."""
        try:
            serves = self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
        return serves and bool(self.values("linkpool_store_up"))

    def values(self, expr: str) -> list[float]:
        """Return the values of an instant query, without those that are not numbers."""
        found = [float(each["value"][1]) for each in self.get("query", query=expr)["result"]]
        return [value for value in found if value == value]


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run Prometheus with the deployed configuration and rules, but every second and on a free
    port.
    """
    binary = debian("prometheus")
    directory.mkdir(parents=True)
    text = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    config = directory / "prometheus.yml"
    config.write_text(
        re.sub(r"interval: \w+", "interval: 1s", text).replace("127.0.0.1:8000", target)
    )
    shutil.copy(PROMETHEUS / "linkpool.rules.yml", directory)
    port = ports.choose()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until(running.ready, 20, what=f"Prometheus has scraped: {directory / 'log'}")
        yield running
    finally:
        running.close()
        end(process, directory / "log")


def dashboard_queries() -> list[tuple[str, str]]:
    """Return each panel's title and query, as Grafana would send it for everything."""
    return [
        (
            panel["title"],
            target["expr"]
            .replace("$__rate_interval", "15s")
            .replace("$job", ".*")
            .replace("$meeting", ".*"),
        )
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]


class Collector:
    """Receives spans over HTTP as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        outer = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, sent: ExportTraceServiceRequest) -> None:
        """Keep the received spans in a flat list."""
        for resource in sent.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.spans += [
                {
                    "name": span.name,
                    "part": about["linkpool.part"],
                    "service": about["service.name"],
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "text": str(span),
                }
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def of(self, trace: str) -> set[tuple[str, str]]:
        """Return the parts and names of one trace's spans."""
        return {(each["part"], each["name"]) for each in self.spans if each["trace"] == trace}

    def close(self) -> None:
        """Stop receiving."""
        self._server.shutdown()
        self._server.server_close()
