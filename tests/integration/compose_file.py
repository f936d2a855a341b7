"""Read docker-compose.yml and the Dockerfile as a container engine does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

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
