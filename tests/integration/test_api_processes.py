"""Try that no process of an API outlives the one that started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from pool.up import ports
from tests.acceptance.product import clean_environment, wait_until
from tests.redis_process import RedisServer


def test_a_killed_api_takes_its_processes_along(redis_server: RedisServer, tmp_path: Path) -> None:
    """Its port is free again, so that it can be started anew."""
    port = ports.choose()
    environ = clean_environment(
        REDIS_URL=redis_server.url(), DATA_DIR=str(tmp_path / "data"), API_WORKERS="2",
        PORT=str(port),
    )  # fmt: skip
    linkpool = [sys.executable, "-m", "pool.cli"]
    subprocess.run([*linkpool, "db", "upgrade"], env=environ, cwd=tmp_path, check=True)
    with (tmp_path / "log").open("wb") as log:
        api = subprocess.Popen([*linkpool, "api"], env=environ, cwd=tmp_path, stderr=log)
    try:

        def ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_until(ready, 60, what=(tmp_path / "log").read_text())
    finally:
        api.kill()
        api.wait()
    wait_until(lambda: ports.is_free(port), 30, what="the killed API's port is free")
