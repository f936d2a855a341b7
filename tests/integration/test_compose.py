"""Test the processes that docker-compose.yml declares, run without containers.

The commands, environments, secrets, health checks and stop signals are taken from the file
and the Dockerfile as they stand. Only what a container engine would provide is put in their
place: addresses of the services, paths of the secrets and the volume, and a sandbox provider.
The processes cannot import what the image would not hold: packages that only tests need.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from pool.up import ports
from tests.integration.compose_file import (
    COMPOSE,
    ONE_SHOT,
    SECONDS,
    SERVICES,
    SID,
    long_running,
)
from tests.integration.compose_stage import Deployment, until

if TYPE_CHECKING:  # pytest itself imports it, below, to rewrite its asserts
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)


@pytest.fixture(scope="module")
def deployment(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Start all services in the declared order, each when what it depends on is ready."""
    running = Deployment(tmp_path_factory.mktemp("compose"), postgres)
    asyncio.run(_make_database(postgres))
    try:
        running.start_sandbox()
        running.start("redis")
        until(lambda: running.healthy("redis"), "Redis is healthy")
        until(lambda: running.healthy("postgres"), "PostgreSQL is healthy")
        running.start(ONE_SHOT)
        status, log = running.wait(ONE_SHOT, SECONDS)
        assert status == 0, log
        for name in ("api", "worker", "beat"):
            running.start(name)
        until(lambda: running.healthy("api"), "the API is healthy")
        # Beat has no check of its own; both must be there for a sweep.
        until(lambda: running.healthy("beat") and running.healthy("worker"), "a worker sweeps")
        yield running
    finally:
        running.end()
        asyncio.run(_drop_database(postgres))


async def _make_database(postgres: PostgresServer) -> None:
    # As the image's first start does: a user of the name that owns a database of the name.
    admin = await asyncpg.connect(postgres.url("postgres"))
    declared = SERVICES["postgres"]["environment"]
    await admin.execute(f"CREATE ROLE {declared['POSTGRES_USER']} LOGIN")
    await admin.execute(
        f"CREATE DATABASE {declared['POSTGRES_DB']} OWNER {declared['POSTGRES_USER']}"
    )
    await admin.close()


async def _drop_database(postgres: PostgresServer) -> None:
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute("DROP DATABASE linkpool WITH (FORCE)")
    await admin.execute("DROP ROLE linkpool")
    await admin.close()


@pytest.fixture
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    """Return a client of the API with the declared admin key."""
    with httpx.Client(
        base_url=deployment.api,
        headers={"X-API-Key": deployment.secret("admin_key")},
        timeout=10,
        trust_env=False,
    ) as opened:
        yield opened


def test_a_link_is_pooled_claimed_booked_and_seen_consumed(
    deployment: Deployment, client: httpx.Client
) -> None:
    """A meeting added from the api container fills its pool; a visitor's link comes from the pool
    and, once booked at the provider, is consumed for the same visitor."""
    said = deployment.exec("api", "meetings", "add", SID, "--min-fresh", "5")
    assert said.endswith(f"added {SID}: at least 5 links kept ready\n")
    until(lambda: _fresh(client, SID) >= 5, "the pool is full")
    claims = f"/v1/meetings/{SID}/claims"
    made = client.post(claims, json={"customer_id": "visitor-1"})
    assert made.status_code == 201, made.text
    claim = made.json()["claim"]
    assert claim["source"] == "pool"
    assert claim["url"].startswith(deployment.sandbox)

    book = {"slug": claim["slug"], "name": "Zoë", "answers": {"ref": claim["slug"]}}
    httpx.post(
        f"{deployment.sandbox}/_control/book", json=book, timeout=10, trust_env=False
    ).raise_for_status()

    def state() -> str:
        return str(client.get(f"{claims}/visitor-1").json()["claim"]["state"])

    until(lambda: state() == "consumed", "the booking is seen")
    again = client.post(claims, json={"customer_id": "visitor-1"})
    assert again.status_code == 200
    assert again.json()["claim"]["slug"] == claim["slug"]

    status = json.loads(deployment.exec("worker", "status", "--json"))
    assert [(each["sid"], each["consumed"]) for each in status["meetings"]] == [(SID, 1)]
    assert json.loads(client.get(f"/v1/links/{claim['slug']}").text)["link"]["state"] == "consumed"


def test_the_doctor_finds_nothing_wrong(deployment: Deployment) -> None:
    """`linkpool doctor` in the api container passes, and Redis keeps what it is given for good."""
    findings = json.loads(deployment.exec("api", "doctor", "--json", "--no-make-link"))
    verdicts = {finding["what"]: finding["verdict"] for finding in findings}
    assert verdicts["redis memory"] == "ok"
    assert verdicts["redis persistence"] == "ok"
    assert verdicts["database"] == "ok"
    assert verdicts["worker"] == "ok"
    assert "failed" not in verdicts.values()


def test_metrics_of_api_and_worker_stand_side_by_side(
    deployment: Deployment, client: httpx.Client
) -> None:
    """/metrics shows what the API's processes and the worker's counted, once each, whichever of
    the API's processes is asked."""
    deployment.exec("api", "meetings", "add", "counted", "--min-fresh", "4")
    until(lambda: _fresh(client, "counted") >= 4, "the pool is full")
    visitors = 3
    for number in range(visitors):
        with httpx.Client(base_url=deployment.api, headers=client.headers, trust_env=False) as one:
            made = one.post("/v1/meetings/counted/claims", json={"customer_id": f"v{number}"})
            assert made.status_code == 201, made.text
    until(lambda: _fresh(client, "counted") >= 4, "the pool is full again")
    new = 'linkpool_claims_total{meeting="counted",outcome="new"}'
    added = 'linkpool_topup_links_total{meeting="counted",outcome="added"}'

    def everywhere() -> list[dict[str, float]]:
        # A connection each, so that both processes are asked; each keeps its text for a moment.
        seen = [_metrics(deployment) for _ in range(8)]
        assert all(values.get(new, 0) <= visitors for values in seen), "counted once each"
        return seen if all(values.get(new) == visitors for values in seen) else []

    for values in until(everywhere, "all claims are counted, whichever process is asked"):
        assert values[added] >= 7
        assert values["linkpool_worker_heartbeat_seconds"] < 30
    directories = {path.parent.name for path in deployment.data.glob("metrics/*/*.db")}
    host = socket.gethostname()
    # The API's is named after its port, too.
    assert len(directories) == 2
    assert {re.sub(r"-\d+$", "", name) for name in directories} == {f"api-{host}", f"worker-{host}"}


def test_neither_metrics_nor_redis_answer_a_stranger(deployment: Deployment) -> None:
    """Without its key /metrics answers 401; without its password Redis says nothing of its own."""
    answer = httpx.get(f"{deployment.api}/metrics", timeout=10, trust_env=False)
    assert answer.status_code == 401
    with socket.create_connection(("127.0.0.1", deployment.redis_port), timeout=10) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


def test_no_password_is_a_word_of_a_command(deployment: Deployment) -> None:
    """`ps` and `docker inspect` show commands to everybody; none of them holds a secret."""
    secrets = [deployment.secret(name) for name in COMPOSE["secrets"]]
    secrets += [deployment.secret("redis_config").removeprefix("requirepass ")]
    assert len(secrets) > 5
    assert {"api", "worker", "redis"} <= deployment.processes.keys()
    for name, process in deployment.processes.items():
        command = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert command or process.poll() is not None, name
        assert not any(secret in command for secret in filter(None, secrets)), name


def _metrics(deployment: Deployment) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {deployment.secret('metrics_key')}"}
    text = httpx.get(f"{deployment.api}/metrics", headers=headers, timeout=10, trust_env=False).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def _fresh(client: httpx.Client, sid: str) -> int:
    found = client.get(f"/v1/meetings/{sid}")
    return int(found.json()["meeting"]["fresh"]) if found.status_code == 200 else 0


@long_running
def test_a_health_check_passes(deployment: Deployment, name: str) -> None:
    """Each declared health check passes while its service does its work."""
    checked = deployment.check(name)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_the_sweep_check_fails_without_sweeps(deployment: Deployment, name: str) -> None:
    """The health check of worker and beat fails where no worker has swept, and where there is no
    Redis."""
    elsewhere = deployment.secret("redis_url").removesuffix("/0") + "/9"
    checked = deployment.check(name, LINKPOOL_REDIS_URL=elsewhere)
    assert checked.returncode == 1
    assert "no worker has run yet" in checked.stderr
    nowhere = f"redis://127.0.0.1:{ports.choose()}/0"
    assert deployment.check(name, LINKPOOL_REDIS_URL=nowhere).returncode == 3


@pytest.mark.parametrize("name", ["beat", "worker", "api"])
def test_a_stop_is_clean_and_a_start_heals(deployment: Deployment, name: str) -> None:
    """On a stop each service ends within its grace period with status 0 and without a traceback,
    and its metrics, lock files or half-done work do not keep it from starting again.
    """
    status, log = deployment.stop(name)
    assert "Traceback" not in log, log
    assert status == 0, log
    if name == "api":
        assert deployment.check(name).returncode == 1
    deployment.start(name)
    until(lambda: deployment.healthy(name), f"{name} is healthy again")


def test_a_worker_under_load_stops_in_time(deployment: Deployment, client: httpx.Client) -> None:
    """A worker stopped in the middle of a top-up whose provider hangs ends within its grace period
    without a traceback, and the next one fills the pool."""
    knobs = f"{deployment.sandbox}/_control/knobs"
    slow = {"p_hang": 1.0, "hang_seconds": 60.0}
    httpx.patch(knobs, json=slow, timeout=10, trust_env=False).raise_for_status()
    deployment.exec("api", "meetings", "add", "slow")
    # It makes the link at once and answers late.
    links = f"{deployment.sandbox}/_control/links?meeting_sid=slow"
    until(
        lambda: "one-off-" in httpx.get(links, timeout=10, trust_env=False).text,
        "the worker asks the provider",
    )
    status, log = deployment.stop("worker")
    assert "Traceback" not in log, log
    assert status == 0, log
    httpx.patch(knobs, json={"p_hang": 0.0}, timeout=10, trust_env=False).raise_for_status()
    deployment.start("worker")
    until(lambda: _fresh(client, "slow") >= 3, "the pool is full", 3 * SECONDS)


def test_redis_stops_in_time_and_forgets_nothing(
    deployment: Deployment, client: httpx.Client
) -> None:
    """Sealed and stopped as declared, Redis comes back with every fresh link usable."""
    deployment.exec("api", "meetings", "add", "sealed", "--min-fresh", "6")
    until(lambda: _fresh(client, "sealed") >= 6, "the pool is full")
    made = client.post("/v1/meetings/sealed/claims", json={"customer_id": "keeps"})
    slug = made.json()["claim"]["slug"]
    until(lambda: _fresh(client, "sealed") >= 6, "the pool is full again")
    assert re.fullmatch(r"sealed (\d+) of \1 pools\n", deployment.exec("api", "seal"))
    status, log = deployment.stop("redis")
    assert status == 0, log
    assert deployment.check("api").returncode == 1
    deployment.start("redis")
    until(lambda: deployment.healthy("redis"), "Redis is healthy")
    until(lambda: deployment.healthy("api"), "the API is ready")

    def claimed() -> httpx.Response | None:
        tried = client.post("/v1/meetings/sealed/claims", json={"customer_id": "newcomer"})
        return tried if tried.status_code == 201 else None

    until(claimed, "links are handed out again")
    kept = client.post("/v1/meetings/sealed/claims", json={"customer_id": "keeps"})
    assert kept.json()["claim"]["slug"] == slug
    status = json.loads(deployment.exec("worker", "status", "--json"))
    assert {each["sid"]: each["fresh"] for each in status["meetings"]}["sealed"] >= 5
    assert _metrics(deployment)["linkpool_quarantined_links_total"] == 0
