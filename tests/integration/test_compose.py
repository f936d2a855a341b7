"""Test docker-compose.yml: its structure, and the processes it declares, run without containers.

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
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pool.config.redis_address import parse_redis
from pool.config.settings import PREFIX, Settings, load
from pool.up import ports
from pool.up.redis_server import bundled_redis_server, find_redis_server
from tests.ending import end_all
from tests.warm_commands import WarmCommands

if TYPE_CHECKING:  # pytest itself imports it, below, to rewrite its asserts
    from tests.postgres import PostgresServer

pytest_plugins = ("ledger_fixtures",)

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
# Those that start without a profile.
SERVICES: dict[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if "profiles" not in service
}
BESIDES = {name: each for name, each in COMPOSE["services"].items() if name not in SERVICES}
SENTINEL: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.sentinel.yml").read_text("utf-8"))
OURS = ("api", "worker", "beat", "migrate")
ONE_SHOT = "migrate"
SECRETS_DIRECTORY = "/run/secrets/"
# What .env must hold. Everything else has a default in the file.
REQUIRED = {"LINKPOOL_NEETOCAL_SUBDOMAIN": "acme"}
SID = "compose-1"
SECONDS = 90.0  # for anything to happen, on a slow machine

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
long_running = pytest.mark.parametrize("name", sorted(set(SERVICES) - {ONE_SHOT}))


# --- Reading the file as the engine does ---------------------------------------------------


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with ${NAME}, ${NAME:-default}, ${NAME:?message} and $$ replaced."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, kind, rest = match[1], match[2], match[3]
        found = variables.get(name, "")
        if found or kind == ":-":
            return found or str(rest)
        raise AssertionError(f"{name} must be set: {rest}")

    return re.sub(r"\$\$|\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", value, text)


def environment_of(name: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service, with that of its image."""
    declared = SERVICES[name].get("environment", {})
    assert all(isinstance(value, str | int | float) for value in declared.values())
    image = image_environment() if name in OURS else {}
    return image | {key: interpolated(str(value), variables) for key, value in declared.items()}


def image_environment() -> dict[str, str]:
    """Return what ENV in the last stage of the Dockerfile sets."""
    words = " ".join(re.findall(r"^ENV (.*)$", last_stage(), re.MULTILINE)).split()
    return dict(word.split("=", 1) for word in words)


def last_stage() -> str:
    """Return the Dockerfile from its last FROM on."""
    return "FROM " + re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[-1]


def instruction(name: str) -> str:
    """Return the argument of an instruction of the last stage that stands there once."""
    (found,) = re.findall(rf"^{name} (.*)$", last_stage(), re.MULTILINE)
    return str(found)


def seconds(duration: str) -> float:
    """Return a duration such as `30s` or `1m` in seconds."""
    match = re.fullmatch(r"(\d+)(s|m)", duration)
    assert match is not None, duration
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


# --- Structure -------------------------------------------------------------------------------


@every_service
def test_no_service_runs_as_root_or_gains_privileges(name: str) -> None:
    """Each service has a numeric user other than root, no capability, and a file system that it
    cannot change."""
    service = SERVICES[name]
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert any(mount.split(":")[0] == "/tmp" for mount in service["tmpfs"])


@long_running
def test_every_service_comes_back_and_is_watched(name: str) -> None:
    """Every service restarts after a crash, has a bounded health check, and gets time to end."""
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert check["retries"] >= 1
    assert seconds(check["start_period"]) >= 10
    assert seconds(service["stop_grace_period"]) >= 10


def test_the_migration_runs_once_and_before_all_that_use_the_database() -> None:
    """The schema is brought up to date when PostgreSQL answers, and nothing of ours starts before
    that has succeeded and Redis is healthy."""
    assert SERVICES[ONE_SHOT]["restart"] == "no"
    assert SERVICES[ONE_SHOT]["command"] == ["db", "upgrade"]
    assert SERVICES[ONE_SHOT]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "worker", "beat"):
        assert SERVICES[name]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            ONE_SHOT: {"condition": "service_completed_successfully"},
        }


@every_service
def test_secrets_are_files_and_never_in_the_environment(name: str) -> None:
    """A service reads each secret it declares through a variable X_FILE, declares each one it
    reads, and has no password in a variable, a command or a URL."""
    service = SERVICES[name]
    environment = environment_of(name, REQUIRED)
    read = {
        value.removeprefix(SECRETS_DIRECTORY)
        for key, value in environment.items()
        if key.endswith("_FILE") and value.startswith(SECRETS_DIRECTORY)
    }
    # Redis takes its file as an argument.
    read |= {
        word.removeprefix(SECRETS_DIRECTORY)
        for word in service.get("command", [])
        if str(word).startswith(SECRETS_DIRECTORY)
    }
    assert read == set(service.get("secrets", []))
    assert read <= set(COMPOSE["secrets"])
    for key, value in environment.items():
        harmless = key.endswith(("_FILE", "_PER_KEY"))
        assert harmless or not re.search(r"PASSWORD|SECRET|KEY|TOKEN", key), key
        assert not re.search(r"://[^/]*@", value), key


def test_every_secret_is_a_file_outside_of_git_and_of_the_image() -> None:
    """Secrets are read from deploy/secrets alone, which git and the image's build leave out."""
    assert COMPOSE["secrets"]
    for secret in COMPOSE["secrets"].values():
        assert list(secret) == ["file"]
        assert secret["file"].startswith("deploy/secrets/")
    assert "secrets/" in (ROOT / "deploy/.gitignore").read_text("utf-8").split()
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert rules[1] == "*"  # all that is not named after it is left out
    assert not any(rule.startswith("!deploy") for rule in rules)


@every_service
def test_images_are_pinned(name: str) -> None:
    """Each image names at least its major version, and its digest once deploy/pin-images.sh has
    run.
    """
    assert re.fullmatch(
        r"[\w./-]+:\d+(\.\d+)*(-\w+)?(@sha256:[0-9a-f]{64})?", SERVICES[name]["image"]
    )


def test_the_image_is_built_in_stages_and_runs_as_the_declared_user() -> None:
    """The image starts from pinned ones, takes only wheels from the first stage, holds no build
    tools, and runs as the very user that docker-compose.yml names."""
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 2
    pinned = r"python:3\.\d+-[\w-]+(@sha256:[0-9a-f]{64})?"
    assert all(re.fullmatch(pinned, image) for image in images)
    assert "-slim" in images[1]
    assert "apt-get" not in last_stage()
    assert "pip uninstall" in last_stage()
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert json.loads(instruction("ENTRYPOINT")) == ["linkpool"]
    assert "HEALTHCHECK" not in DOCKERFILE
    for name in OURS:
        assert SERVICES[name]["user"] == instruction("USER")
        assert SERVICES[name]["build"] == "."


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    """Each package, the build's own included, has a hash in the lock, and the last stage asks no
    index.
    """
    installs = re.findall(r"pip (?:install|wheel) .*?(?=&&|$)", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 4
    for install in installs:
        ours = install.split()[-1] == "." and "--no-deps --no-build-isolation" in install
        locked = re.search(r"--require-hashes --requirement requirements(-build)?\.lock", install)
        offline = "--no-index --find-links=/wheels" in install
        assert ours or locked or offline, install
    assert "--no-index" in next(each for each in installs if "/wheels linkpool" in each)


def test_images_are_pinned_by_digest_with_one_command(tmp_path: Path) -> None:
    """The script asks docker for each image's digest and writes it behind the tag, once.

    An image whose digest it cannot find out stays unchanged.
    """
    for name in ("Dockerfile", "docker-compose.yml", "deploy/pin-images.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    docker = tmp_path / "docker"
    digest = "sha256:" + "ab" * 32
    docker.write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/asked"\necho "{digest}"\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [tmp_path / "deploy/pin-images.sh"]
    subprocess.run(command, env=environment, check=True, timeout=30)
    dockerfile = (tmp_path / "Dockerfile").read_text()
    compose = yaml.safe_load((tmp_path / "docker-compose.yml").read_text())
    sources = re.findall(r"^(?:FROM|# syntax=)(.*?)(?: AS .*)?$", dockerfile, re.MULTILINE)
    assert len(sources) == 3
    assert all(source.endswith(digest) for source in sources)
    for name, service in compose["services"].items():
        assert service["image"].endswith(f"@{digest}") is (name not in (*OURS, "demo"))
        assert service["image"].split("@")[0] == COMPOSE["services"][name]["image"].split("@")[0]
    once = dockerfile, (tmp_path / "docker-compose.yml").read_text()
    subprocess.run(command, env=environment, check=True, timeout=30)
    assert ((tmp_path / "Dockerfile").read_text(), once[1]) == once
    docker.write_text("#!/bin/sh\nexit 1\n")
    failed = subprocess.run(command, env=environment, check=False, timeout=30)
    assert failed.returncode == 1
    assert (tmp_path / "Dockerfile").read_text() == once[0]


def test_the_build_gets_all_it_copies() -> None:
    """Everything that the Dockerfile copies exists and is let through by .dockerignore."""
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert "pyproject.toml" in copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in rules


@pytest.mark.parametrize("name", OURS)
def test_every_linkpool_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """The settings accept each service's variables with nothing but the required ones set."""
    environment = with_secrets(environment_of(name, REQUIRED), make_secrets(tmp_path))
    ours = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
    settings = load(ours | {f"{PREFIX}CONFIG": str(empty_toml(tmp_path))})
    assert str(settings.data_dir) == "/data"
    if name in ("api", "worker"):
        assert settings.workspaces["default"].api_url == "https://acme.neetocal.com"
        assert settings.secret_key is not None
    else:
        assert not settings.workspaces


def test_a_deployment_without_its_subdomain_is_refused() -> None:
    """Without the one setting that has no default, the start fails and says what to set."""
    with pytest.raises(AssertionError, match=r"acme of acme\.neetocal\.com"):
        environment_of("api", {})


def test_only_the_api_is_published_and_only_on_this_machine() -> None:
    """The API alone has a port, by default on the loopback address; the stores are on a network
    without a way out."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    (port,) = SERVICES["api"]["ports"]
    assert interpolated(port, {}) == "127.0.0.1:8000:8000"
    assert environment_of("api", REQUIRED)["LINKPOOL_PORT"] == "8000"
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("redis", "postgres", "migrate", "beat"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_api_and_worker_share_one_volume() -> None:
    """The API can show what the worker counts, since both keep it in the same data directory."""
    for name in ("api", "worker"):
        assert SERVICES[name]["volumes"] == ["data:/data"]
        assert environment_of(name, REQUIRED)["LINKPOOL_DATA_DIR"] == "/data"
    mounts = [each for one in COMPOSE["services"].values() for each in one.get("volumes", [])]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith("./")}
    assert named == set(COMPOSE["volumes"])


def test_every_setting_can_be_set_from_outside() -> None:
    """It is set in .env or as a secret's file, unless the image or the containers decide it."""
    decided = {"DATA_DIR", "HOST", "PORT", "ENV", "METRICS_PORT", "WORKSPACES", "MEETINGS"}
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    reachable = set(re.findall(r"\$\{LINKPOOL_([A-Z_]+)", text))
    reachable |= {f"{name[9:-5]}" for name in re.findall(r"LINKPOOL_[A-Z_]+_FILE", text)}
    assert {name.upper() for name in Settings.model_fields} - decided == reachable


@pytest.mark.parametrize("name", sorted(BESIDES))
def test_what_a_profile_adds_is_confined_as_well(name: str) -> None:
    """It is not root, writes to its volume alone, is published on this machine only, watched and
    pinned.
    """
    service = BESIDES[name]
    assert set(service["profiles"]) <= {"demo", "observability"}
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"][0] == "CMD"
    (port,) = service["ports"]
    assert interpolated(port, {}).startswith("127.0.0.1:")
    assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)*", service["image"])
    for mount in service["volumes"]:
        source, *_ = mount.split(":")
        assert not source.startswith("./") or (mount.endswith(":ro") and (ROOT / source).exists())
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_prometheus_and_grafana_find_what_they_look_at() -> None:
    """Prometheus finds each API container by the service's name, with its key; Grafana finds the
    dashboard.
    """
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/compose.yml").read_text("utf-8"))
    [job] = scraping["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["api"]
    assert f":{job['dns_sd_configs'][0]['port']}" in SERVICES["api"]["ports"][0]
    key = job["authorization"]["credentials_file"].removeprefix(SECRETS_DIRECTORY)
    assert BESIDES["prometheus"]["secrets"] == [key] == ["metrics_key"]
    assert scraping["rule_files"] == ["linkpool.rules.yml"]
    provided = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/linkpool.yml").read_text("utf-8")
    )
    path = provided["providers"][0]["options"]["path"]
    assert any(f":{path}/linkpool.json:ro" in each for each in BESIDES["grafana"]["volumes"])


def test_the_standby_can_take_over_from_its_master(tmp_path: Path) -> None:
    """Both have the same options and password, and clients get the Sentinels' addresses."""
    services = SENTINEL["services"]
    first, second = services["redis"]["command"], list(services["redis-standby"]["command"])
    at = second.index("--replicaof")
    del second[at : at + 3]
    renamed = [word.replace("redis-standby", "redis") for word in second]
    assert renamed == [word.replace("redis-standby", "redis") for word in first]
    kept = SERVICES["redis"]["command"][2:]
    assert first[2 : 2 + len(kept)] == kept
    secrets = make_secrets(tmp_path)
    url = parse_redis((secrets / "redis_sentinel_url").read_text())
    assert url.service == "linkpool"
    assert [host for host, _ in url.hosts] == [name for name in services if "sentinel" in name]
    config = (secrets / "redis_standby_config").read_text()
    assert config == f"requirepass {url.password}\nmasterauth {url.password}"
    assert f"auth-pass linkpool {url.password}\n" in (secrets / "sentinel_config").read_text()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """The script makes each secret that the file needs, asks for the key that only its user has,
    keeps existing ones, and makes the directory private.
    """
    directory = tmp_path / "secrets"
    missing = run_secrets_script(directory)
    assert missing.returncode == 1
    assert "neetocal_api_key" in missing.stderr
    (directory / "neetocal_api_key").write_text("key\n")
    first = {path.name: path.read_text() for path in directory.iterdir()}
    again = run_secrets_script(directory)
    assert again.returncode == 0
    assert {path.name: path.read_text() for path in directory.iterdir()} == first
    declared = COMPOSE["secrets"].values(), SENTINEL["secrets"].values()
    assert set(first) == {Path(each["file"]).name for some in declared for each in some}
    assert first["postgres_password"] in first["database_url"]
    assert len({first[name] for name in ("postgres_password", "admin_key", "secret_key")}) == 3
    made = ("postgres_password", "admin_key", "secret_key", "metrics_key")
    assert all(len(first[name]) == 64 for name in made)
    password = first["redis_config"].removeprefix("requirepass ")
    assert re.fullmatch(r"[0-9a-f]{64}", password)
    assert first["redis_url"] == f"redis://:{password}@redis:6379/0"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in directory.iterdir())


def run_secrets_script(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "deploy/secrets.sh", directory],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def make_secrets(directory: Path) -> Path:
    """Make a directory with all secrets, as docker-compose.yml says."""
    secrets = directory / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "neetocal_api_key").write_text("sandbox-api-key\n")
    (secrets / "neetocal_webhook_secret").write_text("sandbox-webhook-secret\n")
    assert run_secrets_script(secrets).returncode == 0
    return secrets


def with_secrets(environment: Mapping[str, str], secrets: Path) -> dict[str, str]:
    """Return the environment with the secrets' paths outside of a container."""
    return {
        key: value.replace(SECRETS_DIRECTORY, f"{secrets}/") for key, value in environment.items()
    }


def empty_toml(directory: Path) -> Path:
    path = directory / "linkpool.toml"
    path.touch()
    return path


# --- The declared processes, run -------------------------------------------------------------


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
