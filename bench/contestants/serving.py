"""Serve the peers written in Python by uvicorn with uvloop and httptools, tuned as its
documentation says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bench.processes import PYTHON, Process


def uvicorn(app: str, *, port: int, workers: int, log: Path, environ: Mapping[str, str]) -> Process:
    """Return a uvicorn that serves `module:attribute`, not started yet."""
    command = [
        *(PYTHON, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--no-server-header", "--no-proxy-headers"),
        *("--log-level", "warning", "--backlog", "4096"),
    ]
    return Process(command, log, environ=os.environ | dict(environ), port=port)
