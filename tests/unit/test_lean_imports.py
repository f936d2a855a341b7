"""Test that a process which starts often, or many times, imports no more than it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "alembic",
    "asyncpg",
    "celery",
    "fastapi",
    "httpx",
    "opentelemetry.sdk.metrics",
    "pool.compose",
    "rich",
    "sqlalchemy",
    "typer",
)
SERVES = ("fastapi", "httpx", "pool.compose", "sqlalchemy")


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        pytest.param("pool.cli.main, pool.cli.status, pool.store", ("typer",), id="a health check"),
        pytest.param("pool.nudges, worker.app", ("celery",), id="beat"),
        pytest.param("pool.cli.main, pool.cli.up_step, pool.cli.announce", ("typer",), id="up"),
        pytest.param("pool.cli.up_step, pool.bootstrap", ("sqlalchemy",), id="a step of up"),
        pytest.param("pool.api.server.serve, pool.api.service", SERVES, id="the API"),
    ],
)
def test_only_what_is_needed_is_imported(modules: str, needed: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{list(needed)}\n"
