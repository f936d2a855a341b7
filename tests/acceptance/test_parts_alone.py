"""Test that each part runs alone, and refuses to where it would do harm."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import FAILED
from product import LINKPOOL, Product, clean_environment, wait_until

from pool.up import ports
from tests.ending import end, end_all
from tests.redis_process import RedisServer


class Alone:
    """API, worker, beat and sandbox as plain processes, with a Redis and a fresh database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.redis = RedisServer(directory / "redis")
        self.sandbox_port, self.port = ports.choose(), ports.choose()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = clean_environment(
            REDIS_URL=self.redis.url(),
            DATA_DIR=str(directory / "data"),
            PORT=str(self.port),
            ADMIN_KEY="for-tests-only-Vq8Zk2Lw0sXy7Rt4Gh",
            SWEEP_SECONDS="1",
            NEETOCAL_SUBDOMAIN="acme",
            NEETOCAL_API_KEY="a-key",
            NEETOCAL_WEBHOOK_SECRET="a-secret",
            NEETOCAL_BASE_URL=f"http://127.0.0.1:{self.sandbox_port}",
            NEETOCAL_REF_FIELD="ref",
        )
        self.started: dict[subprocess.Popen[bytes], Path] = {}  # with their logs

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Run `linkpool words…` in the background."""
        said = self.directory / f"{words[0]}.log"
        with said.open("ab") as log:
            process = subprocess.Popen(
                [*LINKPOOL, *words], env=self.environ | environ, stdout=log, stderr=log
            )
        self.started[process] = said
        return process

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the API by the admin key."""
        headers = {"X-API-Key": self.environ["LINKPOOL_ADMIN_KEY"]}
        return httpx.request(
            method, self.url + path, headers=headers, trust_env=False, timeout=60, **request
        )

    def answers(self) -> bool:
        """Return True if the API answers."""
        with contextlib.suppress(httpx.HTTPError):
            return self.call("GET", "/livez").status_code == 200
        return False


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    """Start Redis and an empty database, and nothing else."""
    alone = Alone(tmp_path)
    alone.redis.start()
    try:
        yield alone
    finally:
        try:
            end_all(reversed(alone.started.items()))
        finally:
            alone.redis.stop()


def test_each_part_runs_alone(alone: Alone) -> None:
    """api, worker, beat and sandbox as plain processes do together what `up` does."""
    subprocess.run([*LINKPOOL, "db", "upgrade"], env=alone.environ, check=True)
    alone.start(
        "sandbox",
        *("--port", str(alone.sandbox_port)),
        *("--webhook-url", f"{alone.url}/v1/webhooks/default"),
        "--any-meeting",
        SANDBOX_API_KEY="a-key",
        SANDBOX_WEBHOOK_SECRET="a-secret",
    )
    api = alone.start("api")
    worker, beat = alone.start("worker"), alone.start("beat")
    wait_until(alone.answers, 20, what="the API serves")
    assert alone.call("GET", "/readyz").status_code == 200
    assert alone.call("PUT", "/v1/meetings/m", json={"min_fresh": 5}).status_code == 201

    def fresh() -> int:
        return int(alone.call("GET", "/v1/meetings/m").json()["meeting"]["fresh"])

    wait_until(lambda: fresh() >= 5, 30, what="the pool is full")
    claim = alone.call("POST", "/v1/meetings/m/claims", json={"customer_id": "c"})
    assert claim.status_code == 201
    slug = claim.json()["claim"]["slug"]
    sandbox = f"http://127.0.0.1:{alone.sandbox_port}"
    # The form that the page around it gave the slug carries it back.
    book = {"slug": slug, "answers": {"ref": slug}}
    booked = httpx.post(f"{sandbox}/_control/book", json=book, trust_env=False)
    assert booked.status_code == 201, booked.text

    def state() -> str:
        shown = alone.call("GET", "/v1/meetings/m/claims/c").json()
        return str(shown["claim"]["state"])

    wait_until(lambda: state() == "consumed", 10)
    for process in (api, worker, beat):
        assert end(process, alone.started[process]) in (0, -signal.SIGTERM), process.args
    done = subprocess.run(
        [*LINKPOOL, "doctor"],
        env=alone.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the API does not answer" in done.stdout


def test_a_second_api_says_that_the_port_is_taken(product: Product, alone: Alone) -> None:
    """It ends with one line and exit code 1."""
    done = subprocess.run(
        [*LINKPOOL, "api", "--port", str(product.port)],
        env=alone.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == FAILED
    assert str(product.port) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_api_of_another_secret_key_is_refused(product: Product) -> None:
    """Two secret keys would give one customer two names, so the start fails and names the
    setting.
    """
    done = product.command("doctor", LINKPOOL_SECRET_KEY="another-Wy5Tg8Hk1Lp4Zx7Cv0Bn3Mq6")
    assert done.returncode == FAILED
    assert "same key" in done.stdout
