"""Test the processes that docker-compose.yml declares, run without containers.

The commands, environments, secrets, health checks and stop signals are taken from the file
and the Dockerfile as they stand. Only what a container engine would provide is put in their
place: addresses of the services, paths of the secrets and the volume, and a sandbox provider.
The processes cannot import what the image would not hold: packages that only tests need.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pool.up import ports
from pool.up.redis_server import bundled_redis_server, find_redis_server
from tests.ending import end_all
from tests.integration.compose_file import (
    COMPOSE,
    ONE_SHOT,
    OURS,
    REQUIRED,
    ROOT,
    SECONDS,
    SECRETS_DIRECTORY,
    SERVICES,
    SID,
    environment_of,
    instruction,
    interpolated,
    long_running,
    make_secrets,
    seconds,
    with_secrets,
)
from tests.warm_commands import WarmCommands

if TYPE_CHECKING:  # pytest itself imports it, below, to rewrite its asserts
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)


def hidden_modules() -> list[str]:
    """Hide top-level modules that are installed here but would not be in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(each) for each in project["dependencies"]]
    held = {"linkpool"}
    while waiting:
        needed = waiting.pop()
        if needed.marker and not needed.marker.evaluate():
            continue
        held.add(canonicalize_name(needed.name))
        for text in metadata.requires(needed.name) or ():
            further = Requirement(text)
            extras = needed.extras or {""}
            if further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in extras
            ):
                further.marker = None
                if canonicalize_name(further.name) not in held or further.extras:
                    waiting.append(further)
    return sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if held.isdisjoint(map(canonicalize_name, owners))
    )


# Python imports a module of this name at its start.
SITECUSTOMIZE = """\
import sys

HIDDEN = frozenset({hidden!r})


class Hide:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}} in the image", name=name)


sys.meta_path.insert(0, Hide)
"""


class Deployment:
    """The services of docker-compose.yml as processes of this machine."""

    def __init__(self, directory: Path, postgres: PostgresServer) -> None:
        self.directory = directory
        self.secrets = make_secrets(directory)
        self.data = directory / "data"
        self.data.mkdir(mode=0o700)
        self.bin = directory / "bin"
        self.bin.mkdir()
        (directory / "redis").mkdir()
        self.site = directory / "site"
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(SITECUSTOMIZE.format(hidden=hidden_modules()))
        self.redis_port = ports.choose()
        self.api_port = ports.choose()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres = postgres
        self._sandbox = ""
        url = self.secrets / "database_url"
        found = re.fullmatch(
            r"postgresql://(linkpool:[0-9a-f]+)@postgres:5432/linkpool", url.read_text()
        )
        assert found is not None
        url.unlink()
        url.write_text(f"postgresql://{found[1]}@/linkpool?host={postgres.directory}")
        url = self.secrets / "redis_url"
        here = self._here(url.read_text())
        url.unlink()
        url.write_text(here)
        self._commands = WarmCommands(self._outside)
        self._wrap("pg_isready", postgres.binaries / "pg_isready", "-h", str(postgres.directory))
        self._wrap("valkey-cli", _redis_cli(), "-p", str(self.redis_port), first=True)

    def start_sandbox(self) -> None:
        """Start the provider's stand-in."""
        webhook = f"http://127.0.0.1:{self.api_port}/v1/webhooks/default"
        port = ports.choose()
        secrets = {
            "SANDBOX_API_KEY": self.secret("neetocal_api_key"),
            "SANDBOX_WEBHOOK_SECRET": self.secret("neetocal_webhook_secret"),
        }
        self._spawn(
            "sandbox",
            [sys.executable, "-m", "sandbox", "--port", str(port), "--webhook-url", webhook],
            self._outside | secrets,
        )
        self._sandbox = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{self._sandbox}/_control/state"), "the sandbox answers")

    @property
    def sandbox(self) -> str:
        """Return the address of the provider's stand-in."""
        return self._sandbox

    @property
    def api(self) -> str:
        """Return the address of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    def secret(self, name: str) -> str:
        """Return the content of a secret's file."""
        return (self.secrets / name).read_text().strip()

    def environment(self, name: str) -> dict[str, str]:
        """Return the declared environment of a service, with the addresses it has here."""
        variables = REQUIRED | {
            "LINKPOOL_NEETOCAL_BASE_URL": self._sandbox,
            "LINKPOOL_SWEEP_SECONDS": "1",
        }
        environment = with_secrets(environment_of(name, variables), self.secrets)
        return {key: self._here(value) for key, value in environment.items()}

    def start(self, name: str) -> None:
        """Start a service with its declared command."""
        command = [str(word) for word in SERVICES[name]["command"]]
        if name == "redis":
            assert command[0] == "valkey-server"
            # Where it listens is the container's own affair.
            command[0] = str(find_redis_server())
            command[1:] = [
                word.replace(SECRETS_DIRECTORY, f"{self.secrets}/") for word in command[1:]
            ]
            command += ["--bind", "127.0.0.1", "--port", str(self.redis_port)]
            command += ["--dir", str(self.directory / "redis")]
            self._spawn(name, command, self._outside)
        else:
            self._spawn(name, [*_entrypoint(), *command], self._outside | self.environment(name))

    def wait(self, name: str, timeout_seconds: float) -> tuple[int, str]:
        """Wait for a service's end. Return its exit status and all it wrote."""
        process = self.processes.pop(name)
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"{name} did not end in time:\n{self.log(name)}") from None
        return status, self.log(name)

    def stop(self, name: str) -> tuple[int, str]:
        """Stop a service as declared. Return its exit status and all it wrote."""
        declared = SERVICES[name].get("stop_signal")
        if declared is None:
            declared = instruction("STOPSIGNAL") if name in OURS else "SIGTERM"
        self.processes[name].send_signal(signal.Signals[declared])
        return self.wait(name, seconds(SERVICES[name]["stop_grace_period"]))

    def check(self, name: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a service's health check in its environment, with these changes."""
        kind, *test = SERVICES[name]["healthcheck"]["test"]
        test = [self._here(interpolated(word, {})) for word in test]
        test = [word.replace(SECRETS_DIRECTORY, f"{self.secrets}/") for word in test]
        if name in OURS:
            test = [word.replace("linkpool ", shlex.join(_entrypoint()) + " ") for word in test]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        if command[0] == "python":
            command[0] = sys.executable
        declared = self.environment(name) if name in OURS else {}
        if "LINKPOOL_REDIS_URL" in changed:
            declared.pop("LINKPOOL_REDIS_URL_FILE")
        return subprocess.run(
            command,
            env=self._outside | declared | changed,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=SECONDS,  # this machine may be slow; how long it should take is declared
            check=False,
        )

    def healthy(self, name: str) -> bool:
        """Return True if a service's health check passes. Fail if its process has ended."""
        process = self.processes.get(name)
        assert process is None or process.poll() is None, self.log(name)
        kind, *test = SERVICES[name]["healthcheck"]["test"]
        if kind != "CMD-SHELL" or not test[0].startswith("linkpool "):
            return self.check(name).returncode == 0
        # Asked again and again while services start: an interpreter for each would delay them.
        said = subprocess.run(
            ["sh", "-c", interpolated(test[0], {}).replace("linkpool", "echo", 1)],
            env=self._outside | self.environment(name), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return self._run(name, said.stdout.split()).returncode == 0

    def exec(self, name: str, *command: str) -> str:
        """Run a command as `docker compose exec` does in the container. Return what it prints."""
        done = self._run(name, command)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def _run(self, name: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._commands.run(
            words,
            environ=self._outside | self.environment(name),
            directory=self.directory,
            seconds=SECONDS,
        )

    def log(self, name: str) -> str:
        """Return all that a service wrote."""
        return (self.directory / f"{name}.log").read_text("utf-8", "replace")

    def end(self) -> None:
        """End everything that still runs, with the processes it started."""
        self._commands.close()
        try:
            end_all(
                (process, self.directory / f"{name}.log")
                for name, process in self.processes.items()
            )
        finally:
            for process in self.processes.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    @property
    def _outside(self) -> dict[str, str]:
        """Return the environment that a container has beside the declared one, without settings of
        this shell.
        """
        return {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.site}{os.pathsep}{ROOT}",
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
        }

    def _here(self, text: str) -> str:
        """Return `text` with this machine's addresses in place of the containers'."""
        text = re.sub(r"\bredis:6379\b", f"127.0.0.1:{self.redis_port}", text)
        text = re.sub(r'("127\.0\.0\.1", )8000\b', rf"\g<1>{self.api_port}", text)
        text = re.sub(r"^8000$", str(self.api_port), text)
        text = re.sub(r"^0\.0\.0\.0$", "127.0.0.1", text)
        return re.sub(r"^/data$", str(self.data), text)

    def _spawn(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        with (self.directory / f"{name}.log").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wrap(self, name: str, program: Path, *words: str, first: bool = False) -> None:
        """Put `program` on the PATH under `name`, with words that say where its server is."""
        extra = " ".join(words)
        arguments = f'{extra} "$@"' if first else f'"$@" {extra}'
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nexec "{program}" {arguments}\n')
        path.chmod(0o755)


def _entrypoint() -> list[str]:
    assert json.loads(instruction("ENTRYPOINT")) == ["linkpool"]
    return [sys.executable, "-m", "pool.cli"]


def _redis_cli() -> Path:
    bundled = bundled_redis_server()
    beside = [server.with_name("redis-cli") for server in (find_redis_server(), bundled) if server]
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    return next((path for path in beside if path.exists()), Path(found or "redis-cli"))


def until(condition: Any, what: str, timeout_seconds: float = SECONDS) -> Any:
    """Return the first true answer of `condition`. Fail after a while.

    It is asked less and less often: many conditions are programs, which take time from what they
    ask about.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = 0.1
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(pause_seconds)
        pause_seconds = min(1.2 * pause_seconds, 0.5)
    return answer


def answers(url: str) -> bool:
    """Return True if this address answers 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


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
