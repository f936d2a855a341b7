"""Test the failures that `linkpool up` survives, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from product import Product, wait_until

from pool.store import key_names
from pool.up import ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

RESTART_SECONDS = 6.0
CUSTOMERS = 20
PARTS = ("api", "worker", "sandbox", "redis", "supervisord")


class Stage:
    """A product, and the answers that its customers got."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.told: dict[str, str] = {}

    def claim_some(self) -> None:
        """Claim links for new customers, and remember all of them."""
        for _ in range(CUSTOMERS):
            customer = f"customer-{len(self.told)}"
            self.told[customer] = self.product.slug("demo", customer)
        assert len(set(self.told.values())) == len(self.told), "one slug, two customers"

    def check(self) -> None:
        """Check that every customer still holds their link, and that nobody else does."""
        for customer, slug in self.told.items():
            answer = self.product.claim("demo", customer)
            assert answer.status_code == 200, (customer, answer.text)
            assert answer.json()["claim"]["slug"] == slug
        self.claim_some()

    def serves(self) -> bool:
        """Return True if an earlier customer is answered now."""
        try:
            return self.product.claim("demo", "customer-0").status_code == 200
        except httpx.HTTPError:
            return False

    def fresh(self) -> set[str]:
        """Return the links that are fresh in the ledger."""
        rows = self.product.rows("SELECT slug FROM links WHERE state = 'fresh'")
        return {slug for (slug,) in rows}

    def sweeps_again(self) -> None:
        """Wait until a sweep runs that began after this call."""
        url = self.product.environment()["LINKPOOL_REDIS_URL"]
        with redis.Redis.from_url(url) as store:
            now_ms = 1000 * time.time()
            wait_until(lambda: float(store.get(key_names.HEARTBEAT) or 0) > now_ms, 30)

    def settled(self) -> None:
        """Wait until the pool is full and everything is recorded."""
        wait_until(lambda: self.product.meeting("demo")["unrecorded_claims"] == 0, 15)
        wait_until(lambda: self.product.meeting("demo")["fresh"] >= 50, 20)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start `linkpool up` for the tests that kill."""
    directory = tmp_path_factory.mktemp("killed")
    product = Product(directory, "demo", PROVIDER_RATE="200")
    try:
        product.start()
        stage = Stage(product)
        product.put("demo", cover_seconds=0)
        stage.claim_some()
        yield stage
    finally:
        product.close()


@pytest.mark.parametrize("part", [*PARTS, "a child of worker"])
def test_a_killed_part_is_started_again(stage: Stage, part: str) -> None:
    """After kill -9 of any part claims are answered again, and every customer keeps their link."""
    product = stage.product
    stage.settled()
    stage.check()
    wait_until(lambda: product.meeting("demo")["unrecorded_claims"] == 0, 15)
    if part == "a child of worker":
        part = "worker"
        pid = wait_until(lambda: product.pids("worker")[1:], 20)[0]
    else:
        pid = product.pid(part)
    # Those made in the last instants may be in the pool a moment later: they count, too.
    fresh = stage.fresh()
    api = product.pid("api")
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    if part == "supervisord":  # it takes everything along, in a moment
        wait_until(lambda: api not in product.pids("api"), 30, every=0.02)
    wait_until(stage.serves, 30, every=0.02, what="claims are answered")
    serving = time.monotonic() - started
    wait_until(
        lambda: [new for new in product.pids(part) if new != pid], 30, what=f"{part} runs again"
    )
    print(f"\n  {part} killed: claims answered after {serving:.2f} s", end=" ")
    stage.check()
    if part == "worker":  # beat is a thread of its first process
        stage.sweeps_again()
    if part in ("redis", "supervisord"):
        # The server may have forgotten a claim: what was fresh then is given to nobody.
        wait_until(lambda: not fresh & stage.fresh(), 10)
        stage.settled()
        given = {product.slug("demo", f"after-{part}-{number}") for number in range(CUSTOMERS)}
        assert not given & fresh
        holders = product.rows("SELECT slug FROM links WHERE state = 'claimed' AND source = 'pool'")
        assert not {slug for (slug,) in holders} & fresh - set(stage.told.values())
    stage.settled()
    doubles = product.rows(
        "SELECT customer_id FROM links WHERE customer_id IS NOT NULL AND state = 'claimed' "
        "GROUP BY meeting_sid, customer_id HAVING count(*) > 1"
    )
    assert doubles == []
    assert product.rows("SELECT * FROM audit WHERE action = 'conflict'") == []


def test_ctrl_c_keeps_pool_bindings_and_keys(stage: Stage) -> None:
    """After Ctrl-C no process is left, and the next start continues with the same pool."""
    product = stage.product
    stage.settled()
    key = product.new_key("--scope", "claim")
    wait_until(lambda: product.meeting("demo")["unrecorded_claims"] == 0, 15)
    fresh = stage.fresh()
    quarantined = product.rows("SELECT count(*) FROM links WHERE state = 'quarantined'")
    said = len(product.complained.read_text())
    started = time.monotonic()
    assert product.stop(signal.SIGINT) == 0
    print(f"\n  stopped in {time.monotonic() - started:.2f} s", end=" ")
    assert product.processes() == {}
    assert "warning" not in product.complained.read_text()[said:]
    assert ports.is_free(product.port)

    watch = product.stopwatch()
    product.launch()
    wait_until(stage.serves, 30, every=0.02, what="claims are answered")
    seconds = watch.seconds
    print(f"\n  second start: first claim after {seconds:.2f} s", end=" ")
    assert seconds <= RESTART_SECONDS
    assert product.rows("SELECT count(*) FROM links WHERE state = 'quarantined'") == quarantined
    given = {product.slug("demo", f"again-{number}", key=key) for number in range(CUSTOMERS)}
    assert given <= fresh
    stage.check()


def test_a_terminal_that_closes_stops_it_too(stage: Stage) -> None:
    """SIGHUP and SIGTERM end everything as Ctrl-C does."""
    product = stage.product
    wait_until(lambda: "Ctrl-C stops" in product.said.read_text(), 30)
    assert product.stop(signal.SIGTERM) == 0
    assert product.processes() == {}
    product.start()
    stage.check()


# -- starts that cannot be


def refused(product: Product, *words: str, **environ: str) -> str:
    """Start `linkpool up`, which must fail. Return its one line of output."""
    done = product.command("up", *words, **environ)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("linkpool: ")
    return lines[0]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The one line names the port and what to do."""
    product = Product(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        line = refused(product, "--port", port)
        assert port in line
        assert "--port" in line
    product.close()


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    """The one line names setting and path."""
    product = Product(tmp_path)
    (tmp_path / "file").write_text("not a directory")
    line = refused(product, "--data-dir", str(tmp_path / "file" / "below"))
    assert "LINKPOOL_DATA_DIR" in line
    assert str(tmp_path / "file" / "below") in line
    product.close()


def test_a_second_up_on_the_same_directory_is_refused(stage: Stage) -> None:
    """The second start ends with one line, which names the process that has the directory; the
    first is not disturbed.
    """
    product = stage.product
    assert product.process is not None
    line = refused(product, "--data-dir", str(product.data), "--port", str(ports.choose()))
    assert f"process {product.process.pid}" in line
    stage.check()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"LINKPOOL_NEETOCAL_SUBDOMAIN": "acme"}, "LINKPOOL_NEETOCAL_API_KEY"),
        ({"LINKPOOL_NEETOCAL_API_KEY": "x"}, "LINKPOOL_NEETOCAL_SUBDOMAIN"),
        ({"LINKPOOL_SWEEP_SECONDS": "soon"}, "LINKPOOL_SWEEP_SECONDS"),
        ({"LINKPOOL_PORT": "99999"}, "LINKPOOL_PORT"),
        ({"LINKPOOL_COLOUR": "blue"}, "LINKPOOL_COLOUR"),
        ({"LINKPOOL_ADMIN_KEY_FILE": "/nowhere/at/all"}, "LINKPOOL_ADMIN_KEY_FILE"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    """The one line names the setting that is wrong or missing."""
    product = Product(tmp_path)
    assert named in refused(product, **settings)
    product.close()
