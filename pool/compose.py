"""The one place where settings become clients. Tests compose their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pool.bookings import Bookings
from pool.errors import SettingsError
from pool.fence import Fence
from pool.ledger import Ledger
from pool.making import LinkMaker
from pool.metrics import Metrics
from pool.providers import Provider, open_provider
from pool.recorder import Recorder
from pool.settings import Settings
from pool.store import Store

SECRET_FILE = "secret.key"  # noqa: S105 - a file's name
_FINGERPRINT = "secret-key-fingerprint"


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a process of linkpool works with."""

    settings: Settings
    store: Store
    ledger: Ledger
    providers: dict[str, Provider]
    makers: dict[str, LinkMaker]
    recorder: Recorder
    fence: Fence
    bookings: Bookings
    metrics: Metrics

    async def check_secret_key(self) -> None:
        """Raises SettingsError if the ledger was filled under another secret key.

        Two keys would name one customer twice, and give them two links.
        """
        fingerprint = self.store.names.fingerprint
        if await self.ledger.facts.keep(_FINGERPRINT, fingerprint) != fingerprint:
            raise SettingsError(
                "LINKPOOL_SECRET_KEY",
                "is not the key this ledger was started with; every process needs the same one",
            )


@asynccontextmanager
async def compose(settings: Settings) -> AsyncIterator[Parts]:
    """Opens store, ledger and providers, lazily connected, and closes them at the end.

    Raises SettingsError.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        store = Store.open(
            redis_url(settings),
            secret_key(settings),
            timeout_seconds=settings.claim_timeout_seconds,
        )
        stack.push_async_callback(store.close)
        ledger = Ledger.open(database_url(settings))
        stack.push_async_callback(ledger.close)
        providers: dict[str, Provider] = {}
        makers: dict[str, LinkMaker] = {}
        for name, workspace in settings.workspaces.items():

            def observe(
                _operation: str, status: int | str, seconds: float, name: str = name
            ) -> None:
                metrics.provider_requests.labels(name, str(status)).inc()
                metrics.provider_seconds.observe(seconds)

            provider = open_provider(
                workspace, timeout_seconds=settings.provider_timeout_seconds, observe=observe
            )
            stack.push_async_callback(provider.close)
            providers[name] = provider
            makers[name] = LinkMaker(
                name,
                provider,
                store,
                first_rate=settings.provider_rate,
                probe_seconds=settings.probe_seconds,
                counted=lambda sid, outcome: metrics.topup_links.labels(sid, outcome).inc(),
            )
        recorder = Recorder(store, ledger, settings, conflict=metrics.conflicts.inc)
        yield Parts(
            settings=settings,
            store=store,
            ledger=ledger,
            providers=providers,
            makers=makers,
            recorder=recorder,
            fence=Fence(
                store,
                ledger,
                recorder,
                redis_forgets=settings.redis_forgets,
                fallen=metrics.fence_fell,
            ),
            bookings=Bookings(
                store,
                ledger,
                recorder,
                providers,
                counted=lambda *labels: metrics.webhooks.labels(*labels).inc(),
            ),
            metrics=metrics,
        )


def redis_url(settings: Settings) -> str:
    """Where Redis is. Raises SettingsError if no setting says."""
    if settings.redis_url:
        return settings.redis_url
    raise SettingsError(
        "LINKPOOL_REDIS_URL", f"is not set, and no `linkpool up` runs on {settings.data_dir}"
    )


def broker_url(settings: Settings) -> str:
    """Where Celery's broker is: as set, else the next database of the same Redis."""
    if settings.broker_url:
        return settings.broker_url
    parts = urlsplit(redis_url(settings))
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise SettingsError(
            "LINKPOOL_BROKER_URL", "must be set, since LINKPOOL_REDIS_URL does not end in a number"
        )
    return urlunsplit(parts._replace(path=f"/{int(database) + 1}"))


def database_url(settings: Settings) -> str:
    """Where the ledger is."""
    return settings.database_url or f"sqlite:///{settings.sqlite_path}"


def secret_key(settings: Settings) -> bytes:
    """The secret key: as set, else kept in the data directory, made there if need be."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = Path(settings.data_dir) / SECRET_FILE
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text("utf-8").strip().encode()
        with os.fdopen(descriptor, "w") as file:
            file.write(key := secrets.token_urlsafe(32))
        return key.encode()
    except OSError as error:
        raise SettingsError("LINKPOOL_DATA_DIR", f"cannot keep {path}: {error}") from None
