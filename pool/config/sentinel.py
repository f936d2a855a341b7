"""Parse the address of a Redis that Sentinels watch over, written in one line.

    redis+sentinel://[:password@]host[:port],host[:port]…/service[/database][?sentinel_password=…]

`rediss+sentinel` means TLS. The password is that of Redis; ports are 26379 unless given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from pool.errors import SettingsError

_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
_PORT = 26_379


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The Sentinels to ask, and the service to ask for."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False

    def broker(self) -> tuple[str, dict[str, Any]]:
        """Return the same address for Celery: a broker URL and its transport options."""
        user = quote(self.username or "", safe="")
        secret = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        hosts = (
            f"sentinel://{secret}{f'[{host}]' if ':' in host else host}:{port}"
            for host, port in self.sentinels
        )
        options: dict[str, Any] = {"master_name": self.service}
        if self.sentinel_password:
            options["sentinel_kwargs"] = {"password": self.sentinel_password}
        return ";".join(f"{each}/{self.database}" for each in hosts), options


def is_sentinel(url: str) -> bool:
    """Return True if a Redis address names Sentinels."""
    return url.partition("://")[0] in _SCHEMES


def parse_sentinel(url: str, setting: str = "LINKPOOL_REDIS_URL") -> SentinelAddress:
    """Parse an address for which `is_sentinel` is true. Raise SettingsError if it is malformed."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, database = path.strip("/").partition("/")
    options = dict(parse_qsl(query))
    sentinel_password = options.pop("sentinel_password", None)
    if options:
        raise SettingsError(setting, f"has an unknown option, {next(iter(options))}")
    if not service:
        raise SettingsError(
            setting, "names no service: redis+sentinel://host:26379,host:26379/service/0"
        )
    if database and not database.isdigit():
        raise SettingsError(setting, f"has {database!r} where a database number should be")
    return SentinelAddress(
        sentinels=tuple(_host(host, setting) for host in hosts.split(",")),
        service=unquote(service),
        database=int(database or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=sentinel_password,
        tls=_SCHEMES[scheme],
    )


def _host(text: str, setting: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(_PORT)
    if not name or not port.isdigit() or not 0 < int(port) < 65_536:
        raise SettingsError(setting, f"has {text!r} where a Sentinel's host:port should be")
    return name.strip("[]"), int(port)
