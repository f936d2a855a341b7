"""Run the installed product from a directory whose folders have the names of linkpool's modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from pool.up import ports
from pool.up.redis_server import find_redis_server
from tests.ending import end

ROOT = Path(__file__).parents[2]
WRONG = "WRONG PACKAGE"
OURS = ("pool", "worker", "sandbox")
# Celery puts the current directory at the head of the path while it imports a module by name.
# Which of them were imported before decides whether a folder there runs, so all is caught.
GUARD = f"""
import os, sys

class Guarded(list):
    def insert(self, index, entry):
        if os.path.realpath(entry) == os.path.realpath(os.getcwd()):
            os.write(2, b"{WRONG} of the current directory, put at the head of sys.path\\n")
            os._exit(70)
        super().insert(index, entry)

sys.path = Guarded(sys.path)
"""
NEW_KEY = "lp_d1346035_BhisUHHzBuEm9hUe6MPAQJ4Qgkqtds0z6iC6uxWSlqs"


@pytest.fixture(scope="module")
def linkpool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command of a wheel that was built from a clean tree and installed."""
    place = tmp_path_factory.mktemp("wheel")
    _copy_source(place / "source")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(place)]
    subprocess.run([*pip, *build, str(place / "source")], check=True, timeout=120)
    (wheel,) = place.glob("linkpool-*.whl")
    venv.create(place / "venv", with_pip=False)
    python = place / "venv/bin/python"
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=120)
    # The dependencies of this environment, but not its linkpool: what a .pth file in there
    # names is not looked at.
    (site,) = (place / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "sitecustomize.py").write_text(GUARD)
    where = [str(python), "-P", "-c", "import pool, worker; print(pool.__file__, worker.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True, timeout=60).stdout
    assert found.count(f"{site}/") == 2, "the wheel's own packages are used"
    return place / "venv/bin/linkpool"


def _copy_source(target: Path) -> None:
    for name in OURS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, target)


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory with a folder for every module that could be imported from there by
    mistake.
    """
    place = tmp_path_factory.mktemp("shadows")
    names = {*OURS, *sys.stdlib_module_names, *metadata.packages_distributions()}
    for name in names:
        if name.isidentifier():
            (place / name).mkdir()
            code = f"import os; os.write(2, b'{WRONG} {name}\\n'); os._exit(70)\n"
            (place / name / "__init__.py").write_text(code)
    return place


def environment(**settings: str) -> dict[str, str]:
    """Return this environment without anything that Python or linkpool reads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LINKPOOL_", "PYTHON"))}
    return kept | {f"LINKPOOL_{name}": value for name, value in settings.items()}


@contextmanager
def running(command: list[str], output: Path, **how: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose output goes into a file, and end it with SIGTERM."""
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **how)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            end(process, output)


def until(condition: object, *processes: tuple[subprocess.Popen[bytes], Path]) -> None:
    """Wait until a condition holds. Fail at once, with its output, if the process ends before."""
    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        for process, output in processes:
            assert process.poll() is None, output.read_text()
            assert WRONG not in output.read_text()
        assert time.monotonic() < deadline, [output.read_text() for _, output in processes]
        time.sleep(0.05)


def test_up_runs_from_a_directory_with_folders_of_the_same_names(
    linkpool: Path, shadows: Path, tmp_path: Path
) -> None:
    """Every part, each API process and supervisord import the installed modules, and a claim
    works.
    """
    port, data, said = ports.choose(), tmp_path / "data", tmp_path / "said"
    command = [str(linkpool), "up", "--data-dir", str(data), "--port", str(port)]
    environ = environment(API_WORKERS="2")
    with running(command, said, cwd=shadows, env=environ) as up:
        until(lambda: "Ctrl-C stops" in said.read_text(), (up, said))
        key = (data / "admin.key").read_text().strip()
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/meetings/demo/claims",
            json={"customer_id": "c-1"},
            headers={"X-API-Key": key},
            trust_env=False,
            timeout=20,
        )
        assert answer.status_code == 201, answer.text
    assert up.returncode == 0
    for log in (said, *(data / "logs").iterdir()):
        assert WRONG not in log.read_text(errors="replace"), log.name


def test_each_part_alone_runs_from_such_a_directory(
    linkpool: Path, shadows: Path, tmp_path: Path
) -> None:
    """`worker` and `beat` sweep, `api` and `sandbox` answer, and none imports a folder of the
    directory.
    """
    redis, api, sandbox = ports.choose(), ports.choose(), ports.choose()
    environ = environment(
        REDIS_URL=f"redis://127.0.0.1:{redis}/0",
        DATA_DIR=str(tmp_path / "data"),
        PORT=str(api),
        API_WORKERS="2",
        ADMIN_KEY=NEW_KEY,
        SECRET_KEY="fd8d440ea27f93edb5f01c59e6e5befc41e6b6d7855045850c43cb4c873c9906",
        SWEEP_SECONDS="1",
        NEETOCAL_SUBDOMAIN="acme",
        NEETOCAL_API_KEY="sandbox-key",
        NEETOCAL_BASE_URL=f"http://127.0.0.1:{sandbox}",
    )

    def part(name: str, *more: str) -> tuple[list[str], Path]:
        return [str(linkpool), name, *more], tmp_path / f"{name}.log"

    def responds(url: str) -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def swept() -> bool:
        command = [str(linkpool), "status", "--max-age", "5"]
        done = subprocess.run(command, cwd=shadows, env=environ, capture_output=True, timeout=60)
        assert WRONG not in done.stderr.decode()
        return done.returncode == 0

    how = {"cwd": shadows, "env": environ}
    server = [str(find_redis_server()), "--port", str(redis), "--save", "", "--dir", str(tmp_path)]
    upgrade = [str(linkpool), "db", "upgrade"]
    with running(server, tmp_path / "redis.log"):
        subprocess.run(upgrade, check=True, timeout=60, capture_output=True, **how)  # type: ignore[call-overload]
        with (
            running(*part("sandbox", "--port", str(sandbox)), **how) as a,
            running(*part("api"), **how) as b,
            running(*part("worker"), **how) as c,
            running(*part("beat"), **how) as d,
        ):
            names = ("sandbox", "api", "worker", "beat")
            all_parts = [
                (p, tmp_path / f"{n}.log") for p, n in zip((a, b, c, d), names, strict=True)
            ]
            until(lambda: responds(f"http://127.0.0.1:{api}/livez"), *all_parts)
            until(lambda: responds(f"http://127.0.0.1:{sandbox}/_control/state"), *all_parts)
            until(swept, *all_parts)
    for name in names:
        assert WRONG not in (tmp_path / f"{name}.log").read_text(), name
