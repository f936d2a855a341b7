"""Test that worker and beat without a directory in common with an API expose their counts on a
port.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from product import LINKPOOL, Product, wait_until

from pool.up import ports
from tests.ending import ended

KEY = "metrics-Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1"


class Apart:
    """A worker and a beat on the shared product's Redis and ledger, as on another host."""

    def __init__(self, product: Product, directory: Path) -> None:
        self.directory = directory
        self.ports = {"worker": ports.choose(), "beat": ports.choose()}
        self.environ = product.environ | product.environment()
        self.environ |= {
            "LINKPOOL_DATABASE_URL": f"sqlite:///{product.data / 'ledger.sqlite3'}",
            "LINKPOOL_DATA_DIR": str(directory / "data"),
            "LINKPOOL_METRICS_KEY": KEY,
            "LINKPOOL_WORKER_CONCURRENCY": "2",
        }

    def command(self, part: str, port: int) -> subprocess.Popen[bytes]:
        """Start a part with a port."""
        with (self.directory / f"{part}.log").open("wb") as said:
            return subprocess.Popen(
                [*LINKPOOL, part], cwd=self.directory, stderr=said,
                env=self.environ | {"LINKPOOL_METRICS_PORT": str(port)},
            )  # fmt: skip

    def get(self, part: str, path: str, key: str = KEY) -> httpx.Response:
        """Ask a part's port."""
        return httpx.get(
            f"http://127.0.0.1:{self.ports[part]}{path}",
            headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=20,
        )  # fmt: skip

    def shows(self, part: str, text: str) -> bool:
        """Return True if this stands in what a part counted."""
        with contextlib.suppress(httpx.TransportError):
            return text in self.get(part, "/metrics").text
        return False


@pytest.fixture(scope="module")
def apart(shared: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Start both."""
    apart = Apart(shared, tmp_path_factory.mktemp("apart"))
    running = {part: apart.command(part, port) for part, port in apart.ports.items()}
    try:
        yield apart
    finally:
        for process in running.values():
            process.terminate()
        codes = {
            part: ended(process, apart.directory / f"{part}.log")
            for part, process in running.items()
        }
    assert codes == {"worker": 0, "beat": 0}, "no process of theirs hung"


def test_each_part_shows_what_it_counted_itself(apart: Apart, shared: Product) -> None:
    """The worker shows the links that its processes made, each once, and beat the messages it
    sent.
    """
    sid = "ports"
    shared.put(sid, min_fresh=5, cover_seconds=0)

    def made() -> bool:
        shared.api("POST", f"/v1/meetings/{sid}/drain", json={"reason": "again"})
        return apart.shows("worker", f'topup_links_total{{meeting="{sid}",outcome="added"}}')

    wait_until(made, 180, every=1.0, what="this worker took its turn")
    wait_until(lambda: apart.shows("beat", 'linkpool_beat_messages_total{task="sweep"}'))
    assert "linkpool_topup" not in apart.get("beat", "/metrics").text
    # Nothing of it is counted where the API looks.
    assert not list((shared.data / "metrics").glob("own-*"))


def test_the_port_asks_for_the_key(apart: Apart) -> None:
    """Only /livez is answered without the key."""
    for part in apart.ports:
        wait_until(lambda part=part: apart.shows(part, "#") or apart.get(part, "/livez"))
        for path in ("/metrics", "/healthz"):
            assert apart.get(part, path, "wrong").status_code == 401
        assert apart.get(part, "/livez", "none").status_code == 200
        assert apart.get(part, "/nothing").status_code == 404


def test_the_port_says_how_every_part_is(apart: Apart) -> None:
    def well() -> bool:
        answer = apart.get("worker", "/healthz")
        return answer.status_code == 200 and answer.json()["status"] in ("ok", "degraded")

    wait_until(lambda: apart.shows("worker", "linkpool_"))
    wait_until(well, what="all parts are well")
    parts = {each["name"]: each for each in apart.get("worker", "/healthz").json()["parts"]}
    assert {"redis", "ledger", "broker", "worker", "beat", "webhooks"} < set(parts)
    assert all(each["since"] for each in parts.values())


@pytest.mark.parametrize("part", ["worker", "beat"])
def test_a_port_that_is_taken_is_reported_in_one_line(apart: Apart, part: str) -> None:
    """The process ends with exit code 2 and names the setting."""
    wait_until(lambda: apart.shows("worker", "linkpool_"))
    port = apart.ports["worker"]
    environ = apart.environ | {"LINKPOOL_METRICS_PORT": str(port)}
    process = subprocess.run(
        [*LINKPOOL, part], env=environ, cwd=apart.directory, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    said = process.stderr
    assert process.returncode == 2, said
    line = said.strip().splitlines()[-1]
    assert line.startswith(f"linkpool {part}: LINKPOOL_METRICS_PORT: 127.0.0.1:{port} is in use")
    assert "Traceback" not in said


def test_healthz_is_for_keys_that_may_read(shared: Product) -> None:
    """The key must see all meetings; /readyz is answered to everybody."""
    assert shared.api("GET", "/healthz", key="").status_code == 401
    claim = shared.new_key("--scope", "claim")
    assert shared.api("GET", "/healthz", key=claim).status_code == 403
    answer = shared.api("GET", "/healthz", key=shared.new_key("--scope", "read"))
    assert answer.status_code == 200
    names = [each["name"] for each in answer.json()["parts"]]
    assert names[:5] == ["redis", "ledger", "webhooks", "broker", "worker"]
