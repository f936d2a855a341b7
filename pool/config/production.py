"""Refuse what serves on one machine and would lose data or secrets where others rely on it.

LINKPOOL_ENV=production is set by the files in deploy/ and docker-compose.yml. It turns every silent
default that is wrong there into one line.
"""

from __future__ import annotations

from pool.config.addresses import broker_url, redis_url
from pool.config.redis_address import is_redis, parse_redis
from pool.config.settings import PREFIX, Settings
from pool.errors import SettingsError

_NEEDED = {
    "REDIS_URL": "the embedded server is for one machine",
    "DATABASE_URL": "a SQLite file of its own for each host would lose the ledger",
    "SECRET_KEY": "a key that each host makes for itself gives one customer several links",
}


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
        tls = parse_redis(url).tls if is_redis(url) else None
        if tls is not None and tls["ssl_cert_reqs"] != "required":
            raise SettingsError(
                PREFIX + name, "does not verify the server's certificate, which production needs"
            )
    database = settings.database_url or ""
    if "sslmode=no-verify" in database:
        raise SettingsError(
            f"{PREFIX}DATABASE_URL",
            "does not verify the server's certificate; production needs sslmode=verify-full",
        )


def where(settings: Settings) -> dict[str, str]:
    """Return where this process finds Redis, broker and ledger, as people may read it."""
    broker = broker_url(settings)
    return {
        "redis": parse_redis(redis_url(settings)).masked(),
        "broker": parse_redis(broker).masked() if is_redis(broker) else _masked(broker),
        "ledger": _masked(settings.database_url or f"sqlite:///{settings.sqlite_path}"),
    }


def _masked(url: str) -> str:
    """Return an address without user, password and options."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
