"""Test addresses that name Sentinels."""

from __future__ import annotations

import pytest

from pool.config.addresses import broker_url
from pool.config.sentinel import SentinelAddress, is_sentinel, parse_sentinel
from pool.config.settings import load
from pool.errors import SettingsError
from pool.nudges import TRANSPORT_OPTIONS, broker
from pool.store.connect import open_redis

FULL = "redis+sentinel://:p%40ss@one:26380,two,[::1]:26381/main/3?sentinel_password=s"


def test_every_part_of_an_address_is_read() -> None:
    """Hosts with and without a port, the service, the database and both passwords."""
    assert is_sentinel(FULL)
    assert parse_sentinel(FULL) == SentinelAddress(
        sentinels=(("one", 26380), ("two", 26379), ("::1", 26381)),
        service="main",
        database=3,
        password="p@ss",
        sentinel_password="s",
    )
    assert parse_sentinel("rediss+sentinel://user:p@h/main") == SentinelAddress(
        sentinels=(("h", 26379),), service="main", username="user", password="p", tls=True
    )
    assert "p@ss" not in repr(parse_sentinel(FULL))


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:26379",
        "redis+sentinel://h:26379/",
        "redis+sentinel://h:port/main",
        "redis+sentinel://h:0/main",
        "redis+sentinel://,h/main",
        "redis+sentinel://h/main/first",
        "redis+sentinel://h/main/0?sentinel=1",
    ],
)
def test_a_malformed_address_is_named(url: str) -> None:
    """One line, which names the setting."""
    with pytest.raises(SettingsError, match="LINKPOOL_REDIS_URL"):
        open_redis(url, timeout_seconds=1, max_connections=1)


def test_other_addresses_are_left_alone() -> None:
    """They are Redis's and Celery's own."""
    assert not is_sentinel("redis://h/0")
    assert broker("redis://h/1") == ("redis://h/1", TRANSPORT_OPTIONS)


def test_the_broker_is_the_next_database_of_the_same_service() -> None:
    """In Celery's own form, every Sentinel with the Redis's password."""
    url = broker_url(load({"LINKPOOL_REDIS_URL": FULL}))
    assert url == FULL.replace("/main/3", "/main/4")
    assert broker_url(load({"LINKPOOL_REDIS_URL": "redis+sentinel://h/main"})).endswith("/main/1")
    hosts, options = broker(url)
    assert hosts == ";".join(
        f"sentinel://:p%40ss@{host}/4" for host in ("one:26380", "two:26379", "[::1]:26381")
    )
    assert options["master_name"] == "main"
    assert options["sentinel_kwargs"] == {"password": "s"}
    assert options["visibility_timeout"] == TRANSPORT_OPTIONS["visibility_timeout"]
