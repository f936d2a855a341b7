"""Run the processes that docker-compose.yml declares, without containers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pool.up import ports
from pool.up.redis_server import bundled_redis_server, find_redis_server
from tests.ending import end_all
from tests.integration.compose_file import (
    OURS,
    REQUIRED,
    ROOT,
    SECONDS,
    SECRETS_DIRECTORY,
    SERVICES,
    environment_of,
    instruction,
    interpolated,
    make_secrets,
    seconds,
    with_secrets,
)
from tests.warm_commands import WarmCommands

if TYPE_CHECKING:  # pytest itself imports it, for the test, to rewrite its asserts
    from tests.postgres import PostgresServer


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
