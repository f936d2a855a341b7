"""Read the address of a PostgreSQL server as hosting services hand it out.

Their addresses are written for libpq, Prisma, node-postgres and others. What is known is kept,
translated or dropped; every other option is refused by its name, because the server would take
it for one of its own settings.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import certifi
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from pool.errors import SettingsError

# What asyncpg reads itself (its documentation of `connect`), and settings of the server.
_KEPT = """
    host port user password passfile database dbname sslmode sslcert sslkey sslrootcert sslcrl
    sslpassword sslnegotiation ssl_min_protocol_version ssl_max_protocol_version
    target_session_attrs krbsrvname gsslib application_name options
"""
# Options that tune connections in other libraries. linkpool has its own bounds for all of these.
_DROPPED = """
    channel_binding client_encoding connect_timeout connection_limit fallback_application_name
    gssencmode keepalives keepalives_count keepalives_idle keepalives_interval pool_timeout
    socket_timeout sslcompression statement_cache_size tcp_user_timeout
"""
_ONE_OF = {
    "target_session_attrs": (
        "any",
        "primary",
        "standby",
        "read-write",
        "read-only",
        "prefer-standby",
    ),
    "gsslib": ("gssapi", "sspi"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
}
_HOME_AUTHORITY = Path("~/.postgresql/root.crt")  # where libpq looks by itself
# postgresql://user:password@host:5432,host:5433/database
_SEVERAL = re.compile(
    r"(postgres(?:ql)?://(?:[^@]*@)?)([\w.:\[\]-]+(?:,[\w.:\[\]-]+)+)(/[^?]*)?(?:\?(.*))?"
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl", "passfile")


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """Name a server in the driver's words; `pooled` behind PgBouncer or the like."""

    dsn: str
    pooled: bool = False
    schema: str | None = None  # None: the one that the server chooses


def parse_postgresql(database_url: str, setting: str) -> PostgresqlAddress:
    """Return the address as the driver wants it. Raise SettingsError, naming the setting.

    No error shows user, password or the value of an option.
    """
    before, _, _ = database_url.rpartition("@")
    if "#" in database_url or "@" in before or "?" in before:
        raise SettingsError(
            setting,
            "has a character in its user, password or options that must be percent-encoded: "
            "# is %23, @ is %40, ? is %3F",
        )
    try:
        url = make_url(_with_one_host(database_url)).set(drivername="postgresql")
    except (ArgumentError, ValueError):
        raise SettingsError(
            setting,
            "is not a URL; write postgresql://user:password@host/database, "
            "with user and password percent-encoded",
        ) from None
    if url.port is not None and not 0 < url.port < 65_536:
        raise SettingsError(setting, "has a port that is not between 1 and 65535")
    pooled, schema = False, None
    for name, value in dict(url.query).items():
        text = str(value)
        if name in _DROPPED.split():
            url = url.difference_update_query([name])
        elif not isinstance(value, str):
            raise SettingsError(setting, f"has its option {_shown(name)} twice")
        elif name == "pgbouncer":
            pooled = text.lower() not in ("false", "0", "no")
            url = url.difference_update_query([name])
        elif name == "schema":
            schema = _schema(text, setting)
            url = url.difference_update_query([name])
        elif name == "sslmode":
            # node-postgres's "encrypted and not verified" is libpq's `require`.
            text = {"no-verify": "require"}.get(text, text)
            if text not in _SSL_MODES:
                raise SettingsError(setting, f"must have one of {', '.join(_SSL_MODES)} as sslmode")
            url = url.update_query_dict({name: text})
        elif name in _ONE_OF and text not in _ONE_OF[name]:
            raise SettingsError(setting, f"must have one of {', '.join(_ONE_OF[name])} as {name}")
        elif name == "sslrootcert" and text == "system":
            url = url.update_query_dict({name: _system_authorities()})
        elif name in _FILES and not Path(text).is_file():
            raise SettingsError(setting, f"names a file as {name} that does not exist")
        elif name not in _KEPT.split():
            raise SettingsError(setting, f"has an unknown option, {_shown(name)}; leave it out")
    _check_tls(url.query, setting)
    return PostgresqlAddress(url.render_as_string(hide_password=False), pooled, schema)


def _with_one_host(database_url: str) -> str:
    """Return an address of several hosts, as libpq has them, with all of them as an option."""
    several = _SEVERAL.fullmatch(database_url)
    if several is None:
        return database_url
    begin, hosts, database, query = several.groups("")
    return f"{begin}{database or '/'}?host={quote(hosts)}&{query}".rstrip("&")


def _shown(name: str) -> str:
    return name if name.replace("_", "").isalnum() and len(name) <= 40 else "unreadable"


def _check_tls(options: Mapping[str, object], setting: str) -> None:
    """Raise SettingsError if options of TLS lack another that they need."""
    mode = options.get("sslmode")
    named = options.get("sslrootcert") or _HOME_AUTHORITY.expanduser().is_file()
    if mode in ("verify-ca", "verify-full") and not named:
        raise SettingsError(
            setting, f"must name an authority with sslmode={mode}: sslrootcert=system, or its file"
        )
    if options.get("sslnegotiation") == "direct" and mode not in _SSL_MODES[3:]:
        raise SettingsError(setting, "must have sslmode=require or stricter for a direct TLS")


def _system_authorities() -> str:
    """Return the file of the authorities that this machine trusts, as libpq means by `system`."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def _schema(name: str, setting: str) -> str | None:
    """Return the schema that all connections are to use, as Prisma's option means."""
    if not name.isidentifier():
        raise SettingsError(setting, "has a schema that is not a plain name")
    return None if name == "public" else name
