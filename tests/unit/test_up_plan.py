"""Test what `linkpool up` starts, and the environment that its parts get."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pool.config.settings import load
from pool.up import leash
from pool.up.data_dir import DataDirectory
from pool.up.parts import WORKER_NICENESS, Commands, Plan, make_plan


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LINKPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def plan(tmp_path: Path, sids: tuple[str, ...] = ("demo",), **overrides: object) -> Plan:
    settings = load(data_dir=tmp_path / "data", **overrides)
    return make_plan(settings, DataDirectory(settings.data_dir), list(sids), Commands())


def test_by_default_everything_is_started_here(tmp_path: Path) -> None:
    """Redis, the sandbox, API and a worker that is beat, too, all wired to one another."""
    made = plan(tmp_path, port=8123)
    assert {part.name for part in made.parts} == {"redis", "sandbox", "api", "worker"}
    worker = next(part for part in made.parts if part.name == "worker")
    assert worker.command[-3:] == ("worker", "worker", "beat")
    settings = made.settings
    kept = json.loads((tmp_path / "data" / "up.json").read_text())
    assert settings.redis_url == kept["LINKPOOL_REDIS_URL"]
    assert settings.broker_url is None
    workspace = settings.workspaces["default"]
    assert workspace.subdomain == "sandbox"
    assert workspace.api_url == f"http://127.0.0.1:{made.sandbox_port}"
    assert workspace.ref_field == "ref"
    assert made.environ["SANDBOX_API_KEY"] == workspace.api_key.get_secret_value()
    assert made.environ["LINKPOOL_DATA_DIR"] == str(tmp_path / "data")
    assert "LINKPOOL_DATABASE_URL" not in made.environ
    sandbox = next(part for part in made.parts if part.name == "sandbox")
    assert "http://127.0.0.1:8123/v1/webhooks/default" in sandbox.command
    assert sandbox.command[-3:] == ("--meeting", "demo", "--any-meeting")


def test_a_users_own_redis_is_used_and_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LINKPOOL_REDIS_URL: no embedded Redis."""
    monkeypatch.setenv("LINKPOOL_REDIS_URL", "redis://elsewhere:6379/0")
    made = plan(tmp_path)
    assert not made.has("redis")
    assert made.settings.redis_url == "redis://elsewhere:6379/0"


def test_a_real_workspace_needs_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a subdomain and a key the parts talk to the provider."""
    monkeypatch.setenv("LINKPOOL_NEETOCAL_SUBDOMAIN", "acme")
    monkeypatch.setenv("LINKPOOL_NEETOCAL_API_KEY", "real")
    made = plan(tmp_path)
    assert not made.has("sandbox")
    assert made.sandbox_port is None
    assert "SANDBOX_API_KEY" not in made.environ
    assert made.settings.workspaces["default"].api_url == "https://acme.neetocal.com"


def test_the_users_own_secrets_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the environment, or from a file that the parts then read themselves."""
    (tmp_path / "secret").write_text("from a file: Wy5Tg8Hk1Lp4Zx7Cv0Bn3Mq\n")
    monkeypatch.setenv("LINKPOOL_ADMIN_KEY", "lp_mine_Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1")
    monkeypatch.setenv("LINKPOOL_SECRET_KEY_FILE", str(tmp_path / "secret"))
    made = plan(tmp_path)
    assert made.settings.admin_key is not None
    assert made.settings.admin_key.get_secret_value() == "lp_mine_Vq8Zk2Lw0sXy7Rt4Gh9Jd3Fb6Nm1"
    assert made.settings.secret_key is not None
    assert made.settings.secret_key.get_secret_value() == "from a file: Wy5Tg8Hk1Lp4Zx7Cv0Bn3Mq"
    assert "LINKPOOL_SECRET_KEY" not in made.environ
    assert not (tmp_path / "data" / "admin.key").exists()


def test_what_the_command_line_changed_reaches_the_parts(tmp_path: Path) -> None:
    """Every setting given to `up` is in the environment that they inherit."""
    made = plan(tmp_path, host="0.0.0.0", port=8124, log_level="debug", redis_forgets=False)
    assert made.settings.host == "0.0.0.0"
    assert made.settings.port == 8124
    assert made.settings.log_level == "debug"
    assert made.settings.redis_forgets is False
    assert made.api_url == "http://127.0.0.1:8124"


def test_made_keys_are_private_and_kept(tmp_path: Path) -> None:
    """The admin key has the form of every key; a second plan has the same ones."""
    first, second = plan(tmp_path), plan(tmp_path)
    assert first.environ == second.environ
    for name in ("admin.key", "secret.key", "sandbox.keys", "redis.password", "up.json"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    prefix, name, secret = (tmp_path / "data" / "admin.key").read_text().strip().split("_", 2)
    assert (prefix, len(name), len(secret)) == ("lp", 8, 43)


def test_without_meetings_the_sandbox_takes_any(tmp_path: Path) -> None:
    """No --meeting on the command line: meetings may be added later."""
    made = plan(tmp_path, sids=())
    assert any("--any-meeting" in part.command for part in made.parts)
    assert not any("--meeting" in part.command for part in made.parts)


def test_only_the_worker_steps_back(tmp_path: Path) -> None:
    """If the API or Redis did, claims would wait for records on a busy machine."""
    stepping = {part.name: part.niceness for part in plan(tmp_path).parts if part.niceness}
    assert stepping == {"worker": WORKER_NICENESS}


def test_a_part_that_steps_back_has_a_lower_priority() -> None:
    """Its children inherit it."""
    with subprocess.Popen(
        leash.command(sys.executable, "", "", ["/bin/sleep", "60"], niceness=WORKER_NICENESS)
    ) as part:
        wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + WORKER_NICENESS)
        deadline = time.monotonic() + 30
        while os.getpriority(os.PRIO_PROCESS, part.pid) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        found = os.getpriority(os.PRIO_PROCESS, part.pid)
        part.kill()
    assert found == wanted
