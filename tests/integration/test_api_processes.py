"""Test that no process of an API outlives the one that started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from pool.up import ports
from tests.acceptance.product import clean_environment, wait_until
from tests.processes import Found, processes
from tests.redis_process import RedisServer


def test_a_killed_api_takes_its_processes_along(redis_server: RedisServer, tmp_path: Path) -> None:
    """Its port is then free, so that it can be started again."""
    port, data = ports.choose(), tmp_path / "data"
    environ = clean_environment(
        REDIS_URL=redis_server.url(), DATA_DIR=str(data), API_WORKERS="2", PORT=str(port)
    )
    mine = f"LINKPOOL_DATA_DIR={data}\0".encode()

    def others() -> list[Found]:
        return list(processes(mine, str(data), but=frozenset([api.pid])))

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
        servers = [each for each in others() if "multiprocessing.spawn" in each.command]
        assert [each.parent for each in servers] == [api.pid] * 2
    finally:
        api.kill()
        api.wait()
    wait_until(lambda: not others(), 30, what="its processes have ended")
    assert ports.is_free(port)
