"""Test the sandbox as a process of its own: start it, click through it, stop it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.ending import kill, outcome

ROOT = Path(__file__).resolve().parents[2]
KEY = "process-key"
SECRET = "process-secret"
LINKS = "/api/external/v2/meetings/demo/one-off-links"


class Running:
    """A sandbox on a free port, and a client for it."""

    def __init__(self, *flags: str) -> None:
        environment = {**os.environ, "SANDBOX_API_KEY": KEY, "SANDBOX_WEBHOOK_SECRET": SECRET}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", "0", *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"sandbox serves on (http://127\.0\.0\.1:\d+)\n", line)
        if found is None:
            kill(self.process)
            raise AssertionError(f"no address: {line!r} {self.process.stderr.read()}")  # type: ignore[union-attr]
        self.url = found[1]
        self.client = httpx.Client(
            base_url=self.url, headers={"X-API-KEY": KEY}, timeout=60, trust_env=False
        )

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float, str]:
        """Stop the sandbox. Return its exit status, the seconds that took, and its stderr."""
        began = time.monotonic()
        self.process.send_signal(how)
        _, err = outcome(self.process)
        self.client.close()
        return self.process.returncode, time.monotonic() - began, err


@pytest.fixture
def hooks() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Run a local server that takes webhooks. Yield its URL and the received ones (headers,
    body).
    """
    came: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Do nothing: tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/in", came
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_visitor_books_and_the_site_gets_a_webhook(
    hooks: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    """A link made over HTTP is booked on its page, and a signed webhook reports it."""
    url, came = hooks
    running = Running("--webhook-url", url, "--meeting", "demo=Intro call")
    try:
        link = running.client.post(LINKS).json()
        assert link["url"] == f"{running.url}/{link['slug']}"
        page = running.client.get(link["url"], params={"ref": link["slug"]}).text
        moment = re.search(r'name="starts_at" value="([^"]+)"', page)
        assert moment is not None
        assert f'name="answer.ref" value="{link["slug"]}"' in page
        booked = running.client.post(
            link["url"],
            data={
                "name": "Zoë <&>",
                "email": "zoe@example.com",
                "starts_at": moment[1],
                "answer.ref": link["slug"],
            },
            follow_redirects=True,
        )
        assert "You are booked" in booked.text
        assert "Zoë &lt;&amp;&gt;" in booked.text
        assert "link expired" in running.client.get(link["url"]).text.lower()
        deadline = time.monotonic() + 60
        while not came:
            assert time.monotonic() < deadline, "no webhook came"
            time.sleep(0.02)
        headers, body = came[0]
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["x-neeto-webhook-signature"] == f"sha256={digest}"
        event = json.loads(body)
        assert event["event"] == "booking_created"
        assert event["booking"]["name"] == "Zoë <&>"
        assert event["booking"]["form_responses"][0]["value"] == link["slug"]
    finally:
        status, _, err = running.end()
    assert (status, err) == (0, "")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_while_requests_hang(how: signal.Signals) -> None:
    """It stops within about a second with status 0, whatever requests hang."""
    running = Running("--p-hang", "1")
    with ThreadPoolExecutor(5) as pool:
        hanging = [pool.submit(running.client.post, LINKS) for _ in range(5)]
        while running.client.get("/_control/state").json()["links"] < 5:
            time.sleep(0.02)
        status, seconds, err = running.end(how)
        for each in hanging:
            assert each.exception() is None
            assert each.result().status_code == 200
    assert (status, err) == (0, "")
    assert seconds < 20


def test_half_a_request_does_not_hold_up_the_end() -> None:
    """A caller who sent half a body is cut off at a stop, without a line in the log."""
    running = Running()
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /_control/book HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        running.client.get("/_control/state")
        status, seconds, err = running.end()
    assert (status, err) == (0, "")
    assert seconds < 20


def test_a_lost_answer_is_a_closed_connection_or_a_500() -> None:
    """With p_lost the link is made, and the caller does not learn of it."""
    running = Running("--p-lost", "1")
    outcomes = set()
    try:
        for _ in range(20):
            try:
                outcomes.add(str(running.client.post(LINKS).status_code))
            except httpx.RemoteProtocolError:
                outcomes.add("closed")
        state = running.client.get("/_control/state").json()
        assert state["links"] == 20
        assert set(state["counters"]["requests"]["create_link"]) == {"500", "closed"}
    finally:
        status, _, err = running.end()
    assert outcomes == {"500", "closed"}
    assert (status, err) == (0, "")


def test_a_port_in_use_is_one_clear_line() -> None:
    """One line says that the port is in use, the status is 1, and the file is unchanged."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "sandbox", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """After kill -9 the state file brings back links and bookings."""
    flags = ("--state-file", str(tmp_path / "state.jsonl"))
    running = Running(*flags)
    slugs = [running.client.post(LINKS).json()["slug"] for _ in range(20)]
    booking = running.client.post("/_control/book", json={"slug": slugs[0]}).json()["booking"]
    running.end(signal.SIGKILL)
    running = Running(*flags)
    try:
        links = running.client.get("/_control/links").json()["links"]
        assert [each["slug"] for each in links] == slugs
        assert links[0]["booking_sid"] == booking["sid"]
        assert "link expired" in running.client.get(f"/{slugs[0]}").text.lower()
    finally:
        running.end()
