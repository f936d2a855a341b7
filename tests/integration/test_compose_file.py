"""Test the structure of docker-compose.yml and of the Dockerfile."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pool.config.redis_address import parse_redis
from pool.config.settings import PREFIX, Settings, load
from tests.integration.compose_file import (
    BESIDES,
    COMPOSE,
    DOCKERFILE,
    ONE_SHOT,
    OURS,
    REQUIRED,
    ROOT,
    SECRETS_DIRECTORY,
    SENTINEL,
    SERVICES,
    empty_toml,
    environment_of,
    every_service,
    instruction,
    interpolated,
    last_stage,
    long_running,
    make_secrets,
    run_secrets_script,
    seconds,
    with_secrets,
)


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
