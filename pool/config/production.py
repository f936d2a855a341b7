"""Refuse settings that do for one machine, but would lose data or secrets in production.

LINKPOOL_ENV=production is set by the files in deploy/ and docker-compose.yml. Each default that
would be wrong there becomes an error of one line.
"""

from __future__ import annotations

import re

from pool.config.addresses import broker_url, database_url, redis_url
from pool.config.amqp_address import parse_amqp
from pool.config.redis_address import is_redis, parse_redis
from pool.config.secret_strength import MAKE_ONE, weakness
from pool.config.settings import PREFIX, Settings
from pool.errors import SettingsError

_NEEDED = {
    "REDIS_URL": "the embedded server is for one machine",
    "DATABASE_URL": "a SQLite file of its own for each host would lose the ledger",
    "SECRET_KEY": "a key that each host makes for itself gives one customer several links",
}

_UNVERIFIED = re.compile(r"[?&]sslmode=(?:allow|prefer|require|no-verify)(?:&|$)")


def check_production(settings: Settings, *, only_sends: bool = False) -> None:
    """Raise SettingsError, naming the setting, if these settings do not do in production.

    Beat only sends hints: it needs neither ledger nor secret key.
    """
    if settings.env != "production":
        return
    for name, why in _NEEDED.items():
        if only_sends and name != "REDIS_URL":
            continue
        if getattr(settings, name.lower()) is None:
            raise SettingsError(PREFIX + name, f"is not set, and production needs it: {why}")
    for name, url in (("REDIS_URL", redis_url(settings)), ("BROKER_URL", broker_url(settings))):
        if is_redis(url):
            tls = parse_redis(url).tls
            verified = tls is None or tls["ssl_cert_reqs"] == "required"
        else:
            tls = parse_amqp(url)[1]
            verified = tls is None or "server_hostname" in tls
        if not verified:
            raise SettingsError(
                PREFIX + name, "does not verify the server's certificate, which production needs"
            )
    # Not verified is each of these; without any, or with `disable`, nobody asked for TLS.
    if not only_sends and _UNVERIFIED.search(settings.database_url or ""):
        raise SettingsError(
            f"{PREFIX}DATABASE_URL",
            "does not verify the server's certificate; "
            "production needs sslmode=verify-full&sslrootcert=system, or the authority's own file",
        )
    metrics_key = settings.metrics_key
    if metrics_key is not None and (weak := weakness(metrics_key.get_secret_value())):
        raise SettingsError(f"{PREFIX}METRICS_KEY", f"{weak}; make one with {MAKE_ONE}")


def check_production_of_up(settings: Settings) -> None:
    """Raise SettingsError if `linkpool up` would run embedded parts in production."""
    if settings.env != "production":
        return
    check_production(settings)
    if not settings.workspaces:
        raise SettingsError(
            f"{PREFIX}NEETOCAL_SUBDOMAIN", "is not set, and production needs a real provider"
        )


def where(settings: Settings) -> dict[str, str]:
    """Return the addresses of Redis, broker and ledger, without secrets, for people."""
    broker = broker_url(settings)
    return {
        "redis": parse_redis(redis_url(settings)).masked(),
        "broker": parse_redis(broker).masked() if is_redis(broker) else _masked(broker),
        "ledger": _masked(database_url(settings)),
    }


def _masked(url: str) -> str:
    """Return an address without user, password and options."""
    # Whatever a parser makes of it, a password with a raw ? or @ must not be cut in two here.
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
