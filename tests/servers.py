"""Find the Redis and Valkey servers that tests can be run on here."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from pool.up.redis_server import bundled_redis_server


def redis_servers() -> dict[str, Path]:
    """Return every server of another version that can be had, by kind and version."""
    found: dict[str, Path] = {}
    for path in _candidates():
        if path is not None and os.access(path, os.X_OK) and (name := _version(path)):
            found.setdefault(name, path)  # not resolved: some are links whose name matters
    return found


def _candidates() -> list[Path | None]:
    directories = [Path(each) for each in os.get_exec_path()] + [Path("/usr/bin")]
    on_path = [each / name for each in directories for name in ("redis-server", "valkey-server")]
    return [*on_path, bundled_redis_server()]


@functools.cache  # asked for each test that runs on all of them
def _version(server: Path) -> str | None:
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"(\w+) server v=([\d.]+)", said.stdout)
    return f"{match[1].lower()} {match[2]}" if match else None
