"""Describe the parts of `linkpool up` as plain data: their commands and shared environment."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from pool.config.settings import PREFIX, SECRETS, Settings
from pool.config.settings import load as load_settings
from pool.up import ports
from pool.up.data_dir import (
    ENVIRONMENT,
    REDIS_DIRECTORY,
    REDIS_PASSWORD,
    SANDBOX_STATE,
    DataDirectory,
)
from pool.up.modules import module, safe_environ
from pool.up.redis_server import find_redis_server, redis_url, write_redis_config

REDIS, SANDBOX, API, WORKER = "redis", "sandbox", "api", "worker"
# A visitor waits for a claim, and nobody for its record (docs/performance.md, "The tail").
WORKER_NICENESS = 5
_SANDBOX_SUBDOMAIN = "sandbox"
_SANDBOX_REF_FIELD = "ref"


@dataclass(frozen=True)
class Commands:
    """The command that starts each part; the sandbox's flags are added to its command.

    The commands bypass pool.cli, whose imports would cost each part half a second.
    """

    api: tuple[str, ...] = field(default_factory=lambda: module("pool.api"))
    # Beat is a thread of the worker here: another process would take 45 MB.
    worker: tuple[str, ...] = field(default_factory=lambda: module("worker", "worker", "beat"))
    sandbox: tuple[str, ...] = field(default_factory=lambda: module("sandbox"))


@dataclass(frozen=True)
class Part:
    """One process for supervisord."""

    name: str
    command: tuple[str, ...]  # its first word is an absolute path; never holds a secret
    stop_seconds: int  # from SIGTERM to SIGKILL
    order: int  # the higher, the earlier supervisord stops it when it must do so alone
    first: bool = False  # starts with supervisord itself
    niceness: int = 0  # how far it steps back behind the others when the machine is busy
    alone: str = ""  # a lock file: its processes never overlap, even for a moment


@dataclass(frozen=True)
class Plan:
    """All that one run starts."""

    parts: tuple[Part, ...]
    environ: Mapping[str, str] = field(repr=False)
    settings: Settings = field(repr=False)  # as a part reads them from `environ`
    api_url: str
    sandbox_port: int | None
    has_demo: bool  # the API has the demo page
    redis_port: int | None
    redis_password: str = field(repr=False)
    keeps_admin_key: bool  # in the data directory; False: it is the user's own

    def has(self, name: str) -> bool:
        """Return True if this run starts the part of this name."""
        return any(part.name == name for part in self.parts)


def make_plan(settings: Settings, data: DataDirectory, sids: list[str], commands: Commands) -> Plan:
    """Choose ports, make missing secrets, and write the Redis configuration.

    Raise NoRedisServer or SettingsError.
    """
    environ = _inherited(settings, data)
    api_host = ports.reachable(settings.host)
    parts: list[Part] = []
    redis_port, password, sandbox_port = None, "", None
    if settings.redis_url is None:
        redis_port, password = _embed_redis(data, environ, parts)
    if not settings.workspaces:
        webhook = f"http://{api_host}:{settings.port}/v1/webhooks/default"
        sandbox_port = data.port(SANDBOX, lambda kept: ports.choose(kept, settings.port + 1))
        parts.append(_sandbox(commands, data, sids, sandbox_port, webhook))
        _use_sandbox(data, environ, sandbox_port)
        if shown := [*sids, *settings.meetings][:1]:
            environ[f"{PREFIX}DEMO_MEETING"] = shown[0]
    parts += [
        Part(API, commands.api, stop_seconds=5, order=90),
        Part(WORKER, commands.worker, stop_seconds=8, order=50, niceness=WORKER_NICENESS),
    ]
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    data.write(ENVIRONMENT, json.dumps(ours, sort_keys=True))
    return Plan(
        parts=tuple(parts),
        environ=environ,
        settings=load_settings(environ),
        api_url=f"http://{api_host}:{settings.port}{settings.root_path}",
        sandbox_port=sandbox_port,
        has_demo=sandbox_port is not None and f"{PREFIX}DEMO_MEETING" in environ,
        redis_port=redis_port,
        redis_password=password,
        keeps_admin_key=settings.admin_key is None,
    )


def _embed_redis(
    data: DataDirectory, environ: dict[str, str], parts: list[Part]
) -> tuple[int, str]:
    port = data.port(REDIS, ports.choose)
    password = data.secret(REDIS_PASSWORD, lambda: secrets.token_urlsafe(32))
    directory = data.file(REDIS_DIRECTORY)
    config = write_redis_config(directory, port, password)
    command = (str(find_redis_server(directory)), str(config))
    lock = str(directory / "server.lock")
    parts.append(Part(REDIS, command, stop_seconds=15, order=10, first=True, alone=lock))
    environ[f"{PREFIX}REDIS_URL"] = redis_url(port, password)
    return port, password


def _sandbox(
    commands: Commands, data: DataDirectory, sids: list[str], port: int, webhook: str
) -> Part:
    flags = ["--port", str(port), "--webhook-url", webhook]
    flags += ["--state-file", str(data.file(SANDBOX_STATE))]
    # A link that somebody opens by hand has no page around it that passes the slug to the form.
    flags.append("--webhook-carries-slug")
    for sid in sids:
        flags += ["--meeting", sid]
    flags.append("--any-meeting")  # meetings may be added while it runs
    return Part(SANDBOX, (*commands.sandbox, *flags), stop_seconds=3, order=30, first=True)


def _use_sandbox(data: DataDirectory, environ: dict[str, str], port: int) -> None:
    api_key, webhook_secret = data.sandbox_keys()
    environ |= {
        "SANDBOX_API_KEY": api_key,
        "SANDBOX_WEBHOOK_SECRET": webhook_secret,
        f"{PREFIX}NEETOCAL_SUBDOMAIN": _SANDBOX_SUBDOMAIN,
        f"{PREFIX}NEETOCAL_BASE_URL": f"http://{ports.LOOPBACK}:{port}",
        f"{PREFIX}NEETOCAL_API_KEY": api_key,
        f"{PREFIX}NEETOCAL_WEBHOOK_SECRET": webhook_secret,
        f"{PREFIX}NEETOCAL_REF_FIELD": _SANDBOX_REF_FIELD,
    }


def _inherited(settings: Settings, data: DataDirectory) -> dict[str, str]:
    """Return this environment, with what the command line changed and the secrets kept here."""
    environ = dict(os.environ)
    for name in settings.model_fields_set - {"workspaces", "meetings"}:
        variable, value = PREFIX + name.upper(), getattr(settings, name)
        from_file = name.upper() in SECRETS and environ.get(f"{variable}_FILE")
        if value is not None and not from_file:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            environ[variable] = str(plain)
    environ[f"{PREFIX}DATA_DIR"] = str(data.path)
    environ[f"{PREFIX}HOST"] = settings.host
    environ[f"{PREFIX}PORT"] = str(settings.port)
    if settings.admin_key is None:
        environ[f"{PREFIX}ADMIN_KEY"] = data.admin_key()
    if settings.secret_key is None:
        environ[f"{PREFIX}SECRET_KEY"] = data.secret_key()
    # One API shows the counts of all.
    environ.pop(f"{PREFIX}METRICS_PORT", None)
    # The parts run in the directory `up` was started in, for linkpool.toml.
    return safe_environ(environ)
