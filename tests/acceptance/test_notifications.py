"""Send notices from a real product to a real receiver."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from product import Product, wait_until


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


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Run a webhook that anybody may write to."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Product]:
    """Run a product whose operators get notices; the address comes from a file."""
    directory: Path = tmp_path_factory.mktemp("watched")
    (directory / "url").write_text(receiver.url + "\n")
    product = Product(
        directory,
        "demo",
        NOTIFY_URL_FILE=str(directory / "url"),
        SWEEP_SECONDS="1",
        PROBE_SECONDS="1",
        PROVIDER_RATE="100",
    )
    try:
        product.start()
        wait_until(lambda: product.meeting("demo")["fresh"] >= 50, 30)
        yield product
    finally:
        product.close()


def test_an_empty_pool_is_reported_once_and_once_more_when_it_is_full(
    watched: Product, receiver: Receiver
) -> None:
    """Every sweep sees the trouble; the receiver's address is not logged."""
    watched.put("dry", min_fresh=5, cover_seconds=0, on_empty="fail")
    with watched.turned(refuse_meetings="dry=403"):
        for number in range(5):
            watched.slug("dry", f"c{number}")
        wait_until(lambda: receiver.about("dry is empty"), 40, what="the pool is told to be empty")
        time.sleep(2)  # two sweeps
        assert len(receiver.about("dry is empty")) == 1
        assert not receiver.about("fresh links again")
    wait_until(lambda: receiver.about("of dry has"), 40, what="the pool is told to be full")
    time.sleep(2)
    assert len(receiver.about("of dry has")) == 1
    assert len(receiver.about("dry is empty")) == 1
    log = "".join(path.read_text() for path in watched.data.rglob("*.log"))
    assert "services/T0" not in log + watched.complained.read_text()


def test_doctor_sends_a_test_notice(watched: Product, receiver: Receiver) -> None:
    """On request, and says whether it was taken."""
    done = watched.command("doctor", "--no-make-link", "--notify")
    assert "accepted a test notice" in done.stdout, done.stdout + done.stderr
    assert receiver.about("this is a test")
    closed = watched.directory / "closed"
    closed.write_text(f"{receiver.url}/closed")
    done = watched.command(
        "doctor", "--no-make-link", "--notify", LINKPOOL_NOTIFY_URL_FILE=str(closed)
    )
    assert done.returncode == 1
    assert "the webhook answers 503" in done.stdout


def test_a_target_may_be_left_to_the_forecast(watched: Product) -> None:
    """Over HTTP and from the command line; answers say what it suggests either way."""
    assert watched.meeting("demo")["target_mode"] == "fixed"
    meeting = watched.put("demo", fill=False, target="auto")
    assert meeting["target_mode"] == "auto"
    assert meeting["target"] == meeting["suggested_target"] >= meeting["min_fresh"]
    assert watched.command("meetings", "set", "demo", "--target", "fixed").returncode == 0
    assert watched.meeting("demo")["target_mode"] == "fixed"
    refused = watched.api("PUT", "/v1/meetings/demo", json={"target": "sometimes"})
    assert refused.status_code == 422
