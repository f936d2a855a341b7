"""Test that one address means the same to the pool's client and to Celery's."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis.asyncio import SSLConnection, UnixDomainSocketConnection

from pool.config.addresses import broker_url
from pool.config.redis_address import RedisAddress, is_redis, parse_redis
from pool.config.settings import load
from pool.errors import SettingsError
from pool.nudges import TRANSPORT_OPTIONS, broker
from pool.store.cluster.client import ClusterRedis
from pool.store.connect import open_redis

FULL = (
    "redis+sentinel://:p%40ss@one:26380,two,[::1]:26381/main/3"
    "?sentinel_username=u&sentinel_password=s"
)
VERIFIED = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress(hosts=(("h", 6379),))),
        ("redis://h/", RedisAddress(hosts=(("h", 6379),))),
        ("redis://h:1/3", RedisAddress(hosts=(("h", 1),), database=3)),
        ("redis://h:1?db=3", RedisAddress(hosts=(("h", 1),), database=3)),
        ("redis://h:1/3?db=3", RedisAddress(hosts=(("h", 1),), database=3)),
        ("redis://[::1]:6380", RedisAddress(hosts=(("::1", 6380),))),
        ("redis://:p%2F%40@h", RedisAddress(hosts=(("h", 6379),), password="p/@")),
        ("redis://u:p@h", RedisAddress(hosts=(("h", 6379),), username="u", password="p")),
        ("rediss://h", RedisAddress(hosts=(("h", 6379),), tls=VERIFIED)),
        (
            "rediss://h?ssl_cert_reqs=none",
            RedisAddress(
                hosts=(("h", 6379),), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}
            ),
        ),
        (
            "rediss://h?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisAddress(
                hosts=(("h", 6379),),
                tls={
                    "ssl_cert_reqs": "required",
                    "ssl_check_hostname": False,
                    "ssl_ca_certs": "/ca.pem",
                },
            ),
        ),
        (
            "redis+cluster://u:p@one:6380,two,[::1]:6381",
            RedisAddress(
                hosts=(("one", 6380), ("two", 6379), ("::1", 6381)),
                is_cluster=True,
                username="u",
                password="p",
            ),
        ),
        ("redis+cluster://h/0", RedisAddress(hosts=(("h", 6379),), is_cluster=True)),
        ("rediss+cluster://h", RedisAddress(hosts=(("h", 6379),), is_cluster=True, tls=VERIFIED)),
        ("unix:///run/r.sock", RedisAddress(path="/run/r.sock")),
        ("unix:///run/r.sock?db=2", RedisAddress(path="/run/r.sock", database=2)),
        (
            "redis+socket://u:p@/run/r.sock?virtual_host=2",
            RedisAddress(path="/run/r.sock", database=2, username="u", password="p"),
        ),
        (
            FULL,
            RedisAddress(
                hosts=(("one", 26380), ("two", 26379), ("::1", 26381)),
                service="main",
                database=3,
                password="p@ss",
                sentinel_username="u",
                sentinel_password="s",
            ),
        ),
        (
            "rediss+sentinel://user:p@h/main",
            RedisAddress(
                hosts=(("h", 26379),), service="main", username="user", password="p", tls=VERIFIED
            ),
        ),
    ],
)
def test_every_part_of_an_address_is_read(url: str, address: RedisAddress) -> None:
    assert is_redis(url)
    assert parse_redis(url) == address


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("://", "no host"),
        (f"://:{SECRET}@", "no host"),
        ("://h:0", "port"),
        ("://h:65536", "port"),
        ("://h:port", "port"),
        ("://h h", "no host"),
        ("://h/abc", "number"),
        ("://h/-1", "number"),
        ("://h?db=x", "number"),
        ("://h/1?db=2", "two databases"),
        ("://h/1/2", "number"),
        ("://h?db=1&db=1", "twice"),
        ("://h?protocol=3", "unknown option, protocol"),
        ("://h?socket_timeout=3", "unknown option, socket_timeout"),
        (f"://h?{SECRET}=3", "unknown option"),
        (f"://:{SECRET}/more@h", "percent-encoded"),
        (f"://:{SECRET}?more@h", "percent-encoded"),
        (f"://:{SECRET}#more@h", "percent-encoded"),
        (f"://:/{SECRET}@h", "percent-encoded"),
        (f"://{SECRET}:/@h", "percent-encoded"),
        (f"://:{SECRET}", "no host"),
        ("+sentinel://h:26379", "names no service"),
        ("+sentinel://h:26379/", "names no service"),
        ("+sentinel://h:port/main", "port"),
        ("+sentinel://h:0/main", "port"),
        ("+sentinel://,h/main", "no host"),
        ("+sentinel://h/main/first", "number"),
        ("+sentinel://h/main/0?sentinel=1", "unknown option, sentinel"),
        ("+cluster://h", "Cluster"),
        ("ss://h", "must begin with"),
    ],
)
def test_a_malformed_address_is_refused_in_one_line(scheme: str, rest: str, problem: str) -> None:
    """The line names the setting and shows nothing of a password."""
    for name in ("REDIS_URL", "BROKER_URL"):
        with pytest.raises(SettingsError, match=f"LINKPOOL_{name}: .*{problem}") as raised:
            load({f"LINKPOOL_{name}": f"{scheme}{rest}"})
        assert SECRET not in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://x", "h", "redis:/h", "redis:h", "foo://", "memory://", "sqs://x"],
)
def test_other_schemes_are_refused(url: str) -> None:
    for name in ("REDIS_URL", "BROKER_URL"):
        with pytest.raises(SettingsError, match="must begin with one of redis://"):
            load({f"LINKPOOL_{name}": url})


def test_rabbitmq_can_be_the_broker_and_not_the_pool() -> None:
    settings = load(
        {"LINKPOOL_BROKER_URL": "amqp://u:p@h:5672/v", "LINKPOOL_REDIS_URL": "redis://h"}
    )
    url, connecting = broker(broker_url(settings))
    assert (url, connecting["broker_use_ssl"]) == ("amqp://u:p@h:5672/v", None)
    assert "visibility_timeout" not in connecting["broker_transport_options"]
    with pytest.raises(SettingsError, match="must begin with"):
        load({"LINKPOOL_REDIS_URL": "amqp://h"})
    with pytest.raises(SettingsError, match="has no host"):
        load({"LINKPOOL_BROKER_URL": "amqp://"})


@pytest.mark.parametrize(
    ("url", "tls"), [("unix:///r?db=1", False), ("rediss://h/1?ssl_certfile=x", True)]
)
def test_options_of_another_kind_of_address_are_refused(url: str, tls: bool) -> None:
    """TLS has options only where there is TLS, and Sentinels where there are Sentinels."""
    assert (parse_redis(url).tls is not None) is tls
    for wrong in (
        "redis://h?ssl_ca_certs=/x",
        "unix:///r?ssl_ca_certs=/x",
        "redis://h?sentinel_password=x",
    ):
        with pytest.raises(SettingsError, match="unknown option"):
            parse_redis(wrong)


@pytest.mark.parametrize("text", ["maybe", "", "yes"])
def test_tls_is_never_weakened_by_a_slip(text: str) -> None:
    for option in ("ssl_cert_reqs", "ssl_check_hostname"):
        with pytest.raises(SettingsError, match=option):
            parse_redis(f"rediss://h?{option}={text}")
    with pytest.raises(SettingsError, match="cannot be held"):
        parse_redis("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true")


def test_the_broker_is_the_same_redis_under_a_prefix() -> None:
    """A Redis that has only one database is enough for both."""
    for url in ("redis://h/3", FULL, "unix:///run/r.sock"):
        assert broker_url(load({"LINKPOOL_REDIS_URL": url})) == url
    assert TRANSPORT_OPTIONS["global_keyprefix"] == "lp:broker:"


def connection_parameters(url: str) -> dict[str, Any]:
    """Return what kombu would connect with."""
    celery_url, settings = broker(url)
    app = Celery(broker=celery_url, set_as_current=False)
    app.conf.update(settings)
    connection = app.connection_for_write()
    channel = object.__new__(connection.get_transport_cls().Channel)
    channel.__dict__["connection"] = type(
        "Transport", (), {"client": connection, "default_port": 0}
    )
    found: dict[str, Any] = channel._connparams()
    return found


def test_celery_connects_to_the_same_place_with_the_same_rights() -> None:
    found = connection_parameters("redis://u:p%2F@h:1/3")
    assert [found[name] for name in ("host", "port", "db", "username", "password")] == [
        "h", 1, 3, "u", "p/",
    ]  # fmt: skip
    socket = connection_parameters("unix://u:p%2F@/run/r.sock?db=3")
    assert [socket[name] for name in ("path", "db", "username", "password")] == [
        "/run/r.sock", 3, "u", "p/",
    ]  # fmt: skip


def test_celery_verifies_a_server_as_the_pool_does() -> None:
    """By default both verify the certificate and the name in it."""
    for url in (
        "rediss://h/1?ssl_ca_certs=/ca.pem",
        "rediss+sentinel://h/main?ssl_ca_certs=/ca.pem",
    ):
        found = connection_parameters(url)
        assert found["ssl_cert_reqs"] == "required"
        assert found["ssl_check_hostname"] is True
        assert found["ssl_ca_certs"] == "/ca.pem"
        assert "SSL" in found["connection_class"].__name__
        store = open_redis(url, timeout_seconds=1, max_connections=1).connection_pool
        assert issubclass(store.connection_class, SSLConnection) or "SSL" in str(
            store.connection_class
        )
        for name, value in (VERIFIED | {"ssl_ca_certs": "/ca.pem"}).items():
            assert store.connection_kwargs[name] == value
    options = broker("rediss+sentinel://h/main")[1]["broker_transport_options"]
    assert options["sentinel_kwargs"] == {"ssl": True} | VERIFIED
    assert broker("redis://h")[1]["broker_use_ssl"] is None


def test_every_node_of_a_cluster_is_verified() -> None:
    """Nodes that the address does not name are, too."""
    client = open_redis(
        "rediss+cluster://u:p@h?ssl_ca_certs=/ca.pem", timeout_seconds=1, max_connections=1
    )
    assert isinstance(client, ClusterRedis)
    node = client.topology.node("other", 7_000).redis.connection_pool
    assert issubclass(node.connection_class, SSLConnection)
    wanted = VERIFIED | {"ssl_ca_certs": "/ca.pem", "username": "u", "password": "p"}
    assert {name: node.connection_kwargs[name] for name in wanted} == wanted


def test_rabbitmq_is_verified_by_name_where_there_is_tls(tmp_path: Path) -> None:
    """One address is enough, without options of Celery's own, and only an explicit option turns it
    off.
    """
    authority = tmp_path / "ca.pem"
    authority.touch()
    url, connecting = broker(f"amqps://u:p@mq.test:5671/v?ssl_ca_certs={authority}")
    assert url == "amqps://u:p@mq.test:5671/v"
    tls = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "mq.test"}
    assert connecting["broker_use_ssl"] == tls | {"ca_certs": str(authority)}
    assert broker("amqps://h?ssl_cert_reqs=none")[1]["broker_use_ssl"] == {
        "cert_reqs": ssl.CERT_NONE
    }


def test_celery_asks_every_sentinel_with_its_own_password() -> None:
    """The address is in Celery's own form, and each Sentinel has Redis's password."""
    hosts, settings = broker(FULL)
    assert hosts == ";".join(
        f"sentinel://:p%40ss@{host}/3" for host in ("one:26380", "two:26379", "[::1]:26381")
    )
    options = settings["broker_transport_options"]
    assert options["master_name"] == "main"
    assert options["sentinel_kwargs"] == {"username": "u", "password": "s"}
    assert options["visibility_timeout"] == TRANSPORT_OPTIONS["visibility_timeout"]


def test_the_pool_connects_through_a_socket() -> None:
    pool = open_redis(
        "unix:///run/r.sock?db=2", timeout_seconds=1, max_connections=1
    ).connection_pool
    connection = pool.make_connection()
    assert isinstance(connection, UnixDomainSocketConnection)
    assert (connection.path, connection.db) == ("/run/r.sock", 2)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/3", "redis://h:1/3"),
        ("rediss://:p@h?ssl_ca_certs=/x", "rediss://h:6379/0"),
        ("unix://:p@/run/r.sock?db=2", "redis+socket:///run/r.sock?db=2"),
        (FULL, "redis+sentinel://one:26380,two:26379,[::1]:26381/main/3"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert parse_redis(url).masked() == shown
    assert "p@ss" not in repr(parse_redis(FULL))


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("h/1", "one, 0"),
        ("h?db=2", "one, 0"),
        ("h,", "no host"),
        ("h?read_from_replicas=true", "unknown option, read_from_replicas"),
    ],
)
def test_a_malformed_address_of_a_cluster_is_refused(rest: str, problem: str) -> None:
    """The error is one line, as for every address."""
    with pytest.raises(SettingsError, match=f"LINKPOOL_REDIS_URL: .*{problem}"):
        parse_redis(f"redis+cluster://{rest}")


def test_a_cluster_keeps_the_pool_and_never_the_broker() -> None:
    """Celery has no transport for it: the settings are refused without a broker elsewhere."""
    url = "redis+cluster://one,two"
    for name, settings in (
        ("REDIS_URL", {"LINKPOOL_REDIS_URL": url}),
        ("BROKER_URL", {"LINKPOOL_REDIS_URL": url, "LINKPOOL_BROKER_URL": url}),
    ):
        with pytest.raises(
            SettingsError, match=f"LINKPOOL_{name}: .*Cluster, which cannot be Celery's broker"
        ):
            load(settings)
    both = {"LINKPOOL_REDIS_URL": url, "LINKPOOL_BROKER_URL": "redis://h"}
    load(both)
    with pytest.raises(SettingsError, match=r"LINKPOOL_REDIS_FORGETS: .*a Redis Cluster forgets"):
        load(both | {"LINKPOOL_REDIS_FORGETS": "false"})
    assert parse_redis(url).masked() == "redis+cluster://one:6379,two:6379"
    assert is_redis(url)
