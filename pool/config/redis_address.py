"""Parse the address of a Redis, the same way for the pool and for Celery's broker.

    redis://[user:password@]host[:port][/database][?options]
    redis+socket://[user:password@]/path[?db=database]          or unix://
    redis+sentinel://[user:password@]host[:port],host[:port]…/service[/database][?options]
    redis+cluster://[user:password@]host[:port],host[:port]…[?options]      for the pool alone

`rediss`, `rediss+sentinel` and `rediss+cluster` mean TLS. User and password are those of
Redis, percent-encoded. Options of TLS: ssl_cert_reqs (required, optional or none),
ssl_check_hostname (true or false), ssl_ca_certs, ssl_certfile, ssl_keyfile. Options of
Sentinels: sentinel_username, sentinel_password. Everything else is refused by its name: an option
that only one of the two clients knows would make them disagree. No error shows any part of the
address but names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from pool.errors import SettingsError

_PORT, _SENTINEL_PORT = 6_379, 26_379
_PLAIN, _SOCKET, _SENTINEL = "redis", "redis+socket", "redis+sentinel"
_CLUSTER = "redis+cluster"
_SCHEMES = {
    "redis": (_PLAIN, False),
    "rediss": (_PLAIN, True),
    "unix": (_SOCKET, False),
    "redis+socket": (_SOCKET, False),
    "redis+sentinel": (_SENTINEL, False),
    "rediss+sentinel": (_SENTINEL, True),
    "redis+cluster": (_CLUSTER, False),
    "rediss+cluster": (_CLUSTER, True),
}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_check_hostname", *_TLS_FILES)
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_VERIFYING = ("required", "optional", "none")
NO_BROKER = (
    "which cannot be Celery's broker; name a single Redis, Sentinels or RabbitMQ as "
    "LINKPOOL_BROKER_URL"
)

_Wrong = Callable[[str], SettingsError]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of one Redis, or of the Sentinels or nodes that know it, and its credentials."""

    # Of Redis, of the Sentinels if there is a service, or of some nodes of a Cluster.
    hosts: tuple[tuple[str, int], ...] = ()
    is_cluster: bool = False
    path: str = ""  # of a Unix socket, instead of hosts
    service: str = ""  # the name of its service at the Sentinels
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    # The options of TLS, by the names that redis-py and kombu share; None without TLS.
    tls: dict[str, Any] | None = None

    @property
    def has_sentinels(self) -> bool:
        """Return True if Sentinels say where the master is."""
        return bool(self.service)

    @property
    def fails_over(self) -> bool:
        """Return True if a replica may become master, while the old master still answers some."""
        return self.has_sentinels or self.is_cluster

    def sentinel_options(self) -> dict[str, Any]:
        """Return what redis-py needs to speak with the Sentinels themselves."""
        options: dict[str, Any] = {}
        if self.sentinel_username:
            options["username"] = self.sentinel_username
        if self.sentinel_password:
            options["password"] = self.sentinel_password
        if self.tls is not None:
            options |= {"ssl": True} | self.tls
        return options

    def broker(self) -> tuple[str, dict[str, Any]]:
        """Return the same address for Celery: a broker URL and its transport options.

        Celery's `broker_use_ssl` has to be `tls`.
        """
        user = quote(self.username or "", safe="")
        secret = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        if self.path:
            path = quote(self.path)
            return f"redis+socket://{secret}{path}?virtual_host={self.database}", {}
        hosts = self._places()
        if not self.has_sentinels:
            return f"redis://{secret}{hosts[0]}/{self.database}", {}
        url = ";".join(f"sentinel://{secret}{host}/{self.database}" for host in hosts)
        options: dict[str, Any] = {"master_name": self.service}
        if sentinels := self.sentinel_options():
            options["sentinel_kwargs"] = sentinels
        return url, options

    def masked(self) -> str:
        """Return the address for people, without user, password and options."""
        scheme = _PLAIN if self.tls is None else "rediss"
        if self.path:
            return f"{_SOCKET}://{self.path}?db={self.database}"
        hosts = ",".join(self._places())
        if self.has_sentinels:
            return f"{scheme}+sentinel://{hosts}/{self.service}/{self.database}"
        if self.is_cluster:
            return f"{scheme}+cluster://{hosts}"
        return f"{scheme}://{hosts}/{self.database}"

    def _places(self) -> list[str]:
        """Return each host with its port, as addresses have them."""
        return [f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts]


def is_redis(url: str) -> bool:
    """Return True if an address has the scheme of a Redis, well-formed or not."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme in _SCHEMES


def check_files(options: Mapping[str, Any], setting: str) -> None:
    """Raise SettingsError, naming the option, if a file that options of TLS name is not there."""
    for name in _TLS_FILES:
        file = options.get(name)
        if file and not Path(file).is_file():
            raise SettingsError(setting, f"names a file as {name} that does not exist: {file}")


def parse_redis(url: str, setting: str = "LINKPOOL_REDIS_URL") -> RedisAddress:
    """Parse the address of a Redis. Raise SettingsError, naming `setting`, if it is malformed."""

    def wrong(problem: str) -> SettingsError:
        return SettingsError(setting, problem)

    scheme, separator, rest = url.partition("://")
    is_broker = setting.endswith("BROKER_URL")
    if not separator or scheme not in _SCHEMES:
        known = [name for name, (kind, _) in _SCHEMES.items() if not is_broker or kind != _CLUSTER]
        schemes = ", ".join(f"{each}://" for each in known + ["amqp", "amqps"] * is_broker)
        raise wrong(f"must begin with one of {schemes}; for example redis://127.0.0.1:6379/0")
    kind, tls = _SCHEMES[scheme]
    if kind == _CLUSTER and is_broker:
        raise wrong(f"names a Redis Cluster, {NO_BROKER}")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "#" in url or "@" in path or "@" in query:
        raise wrong(
            "has a character in its user, password or options that must be percent-encoded: "
            "/ is %2F, ? is %3F, # is %23, @ is %40"
        )
    credentials, _, place = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    options = _options(query, kind, tls, wrong)
    address = RedisAddress(
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        tls=_tls(options, wrong) if tls else None,
    )
    if kind == _SOCKET:
        if place or not path:
            raise wrong(
                "names no socket; three slashes begin a path: redis+socket:///run/redis.sock"
            )
        return replace(address, path=unquote(slash + path), database=_database("", options, wrong))
    if kind == _CLUSTER:
        if _database(path.strip("/"), options, wrong):
            raise wrong("names a database, and a Redis Cluster has but one, 0")
        nodes = tuple(_host(each, _PORT, wrong) for each in place.split(","))
        return replace(address, hosts=nodes, is_cluster=True)
    if kind == _SENTINEL:
        service, _, path = path.strip("/").partition("/")
        if not service:
            raise wrong("names no service: redis+sentinel://host:26379,host:26379/service/0")
        hosts = tuple(_host(each, _SENTINEL_PORT, wrong) for each in place.split(","))
        return replace(
            address, hosts=hosts, service=unquote(service), database=_database(path, options, wrong)
        )
    return replace(
        address,
        hosts=(_host(place, _PORT, wrong),),
        database=_database(path.strip("/"), options, wrong),
    )


def _options(query: str, kind: str, tls: bool, wrong: _Wrong) -> dict[str, str]:
    """Return the options, of which each is known to this kind of address and given once."""
    known = ["db"]
    if kind == _SOCKET:
        known.append("virtual_host")  # Celery's word for it
    if tls:
        known += _TLS_OPTIONS
    if kind == _SENTINEL:
        known += _SENTINEL_OPTIONS
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "one that cannot be shown"
            hint = "; TLS needs rediss://" if name in _TLS_OPTIONS else ""
            raise wrong(f"has an unknown option, {shown}{hint}; known here: {', '.join(known)}")
        if name in options:
            raise wrong(f"has its option {name} twice")
        options[name] = value
    return options


def _tls(options: dict[str, str], wrong: _Wrong) -> dict[str, Any]:
    """Return the options of TLS. The server's certificate is verified unless they say otherwise."""
    verifying = options.pop("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if verifying not in _VERIFYING:
        raise wrong(f"must have one of {', '.join(_VERIFYING)} as its ssl_cert_reqs")
    named = options.pop("ssl_check_hostname", "true" if verifying == "required" else "false")
    if named.lower() not in ("true", "false"):
        raise wrong("must have true or false as its ssl_check_hostname")
    if named.lower() == "true" and verifying == "none":
        raise wrong("has ssl_cert_reqs=none, with which ssl_check_hostname=true cannot be held")
    found: dict[str, Any] = {
        "ssl_cert_reqs": verifying,
        "ssl_check_hostname": named.lower() == "true",
    }
    for name in _TLS_FILES:
        if value := options.pop(name, None):
            found[name] = value
    return found


def _database(path: str, options: dict[str, str], wrong: _Wrong) -> int:
    texts = {text for text in (path, options.get("db"), options.get("virtual_host")) if text}
    if len(texts) > 1:
        raise wrong("names two databases, one in its path and one as an option")
    text = texts.pop() if texts else "0"
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise wrong("has something else than a number where its database should be")
    return int(text)


def _host(text: str, port: int, wrong: _Wrong) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[2] or port) < 65_536:
        raise wrong(
            "has no host, or a port that is not between 1 and 65535; "
            "a password stands before an @, percent-encoded"
        )
    return match[1].strip("[]"), int(match[2] or port)
