"""Start each example in docs/examples, with everything that it needs before."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients import typescript_build
from tests.debian import PACKAGES, debian, lacking

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
HERE = Path(__file__).parent
PYTHON_PACKAGES = ("flask==3.1.*", "django==5.2.*")


@dataclass(frozen=True)
class Start:
    """A command that serves an example on a port."""

    command: list[str]
    place: Path
    environ: dict[str, str] = field(default_factory=dict)


def flask(cache: pytest.Cache, port: int) -> Start:
    """Start the example with Flask's own server."""
    command = [sys.executable, "-m", "flask", "--app", "app", "run", "-p", str(port)]
    return Start(command, EXAMPLES / "flask", _python(cache))


def django(cache: pytest.Cache, port: int) -> Start:
    """Start the example with Django's own server."""
    command = [sys.executable, "booking.py", "runserver", f"127.0.0.1:{port}", "--noreload"]
    return Start(command, EXAMPLES / "django", _python(cache))


def fastapi(cache: pytest.Cache, port: int) -> Start:
    """Start the example with uvicorn."""
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    return Start(command, EXAMPLES / "fastapi", _python(None))


def express(cache: pytest.Cache, port: int) -> Start:
    """Start the example in a folder where Express and the compiled client are installed."""
    client = typescript_build.build(cache)
    source = EXAMPLES / "express"
    key = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:16]
    place = cache.mkdir(f"express-{key}")
    shutil.copy2(source / "server.mjs", place)
    linked = place / "node_modules" / "linkpool-client"
    if not (place / "node_modules" / "express").exists():
        npm = [debian("npm"), "install", "--no-save", "--no-audit", "--no-fund"]
        typescript_build.run([*npm, "express@5"], place)
    if not linked.exists():
        linked.unlink(missing_ok=True)
        linked.symlink_to(client, target_is_directory=True)
    return Start([debian("node"), "server.mjs"], place)


def nextjs(cache: pytest.Cache, port: int) -> Start:
    """Start the route handler alone, compiled as strictly as the client."""
    place = typescript_build.build(cache)
    handler = place / "build" / "test" / "nextjs-route.js"
    command = [debian("node"), str(HERE / "route_server.mjs"), str(handler)]
    return Start(command, place)


def php(cache: pytest.Cache, port: int) -> Start:
    """Start the example with PHP's own server, with sessions in a folder of this run."""
    sessions = cache.mkdir("php-sessions")
    command = [debian("php"), "-d", f"session.save_path={sessions}"]
    return Start([*command, "-S", f"127.0.0.1:{port}", "booking.php"], EXAMPLES / "php")


def wordpress(cache: pytest.Cache, port: int) -> Start:
    """Start the plugin on the few functions of WordPress that it calls."""
    plugin = EXAMPLES / "wordpress" / "linkpool-booking.php"
    command = [debian("php"), "-S", f"127.0.0.1:{port}", "wordpress_stub.php"]
    return Start(command, HERE, {"PLUGIN": str(plugin)})


def sinatra(cache: pytest.Cache, port: int) -> Start:
    """Start the example with the server that Sinatra finds, in production mode."""
    ruby = debian("ruby")
    if subprocess.run([ruby, "-e", 'require "sinatra/base"'], capture_output=True).returncode:
        lacking("Sinatra", PACKAGES["ruby"])
    command = [ruby, "booking.rb", "-e", "production", "-o", "127.0.0.1", "-p", str(port)]
    return Start(command, EXAMPLES / "sinatra")


STARTS: dict[str, Callable[[pytest.Cache, int], Start]] = {
    each.__name__: each
    for each in (php, wordpress, sinatra, fastapi, flask, django, express, nextjs)
}


def environment(start: Start, port: int, **settings: str) -> dict[str, str]:
    """Return the environment of an example, without this process's linkpool settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LINKPOOL_")}
    secret = "a-secret-that-signs-the-cookies-of-visitors-in-this-test-alone-0123456789"
    kept |= {"PORT": str(port), "SECRET_KEY": secret, "SESSION_SECRET": secret}
    return kept | start.environ | {f"LINKPOOL_{name}": value for name, value in settings.items()}


def _python(cache: pytest.Cache | None) -> dict[str, str]:
    """Return the path of the client and of the frameworks that linkpool does not need itself."""
    paths = [str(ROOT / "clients" / "python")]
    if cache is not None:
        key = hashlib.sha256(" ".join(PYTHON_PACKAGES).encode()).hexdigest()[:16]
        place = cache.mkdir(f"python-examples-{key}")
        if not (place / "complete").exists():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(place)]
            typescript_build.run([*pip, *PYTHON_PACKAGES], place)
            (place / "complete").touch()
        paths.append(str(place))
    return {"PYTHONPATH": os.pathsep.join(paths)}
