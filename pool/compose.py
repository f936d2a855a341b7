"""Make every part from the settings, in this one place. Tests compose their own parts."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from pool.alerting.webhook import Notifier
from pool.bookings.bookings import Bookings
from pool.config.addresses import database_url, redis_url, secret_key
from pool.config.settings import Settings
from pool.durability.erasure import Erasure
from pool.durability.pruner import Pruner
from pool.durability.recorder import Recorder
from pool.durability.recovery import PoolRecovery
from pool.ledger import Ledger
from pool.model.outcomes import webhooks_of
from pool.model.vitals import Pulse
from pool.providers import Provider, open_provider
from pool.providers.watched import Answering, WatchedProvider
from pool.store import Store
from pool.store.tallies import HandOver
from pool.supply.link_bases import LinkBases
from pool.supply.link_maker import LinkMaker
from pool.telemetry.metrics import Metrics
from pool.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a process of linkpool works with."""

    settings: Settings
    store: Store
    ledger: Ledger
    providers: dict[str, Provider]
    makers: dict[str, LinkMaker]
    bases: LinkBases
    recorder: Recorder
    recovery: PoolRecovery
    bookings: Bookings
    erasure: Erasure
    pruner: Pruner
    metrics: Metrics
    outcomes: HandOver  # outcomes for visitors and links, counted by this process
    notifier: Notifier | None  # None: no webhook for notices is set
    tracing: Tracing | None = None  # if set, store and providers are traced
    answering: dict[str, Answering] = field(default_factory=dict)  # providers, by workspace

    def pulse(self, role: Literal["api", "worker"]) -> Pulse:
        """Return this process's sign of life, and whether the providers answer it."""
        calls = {name: each.calls for name, each in self.answering.items()}
        return Pulse(role, socket.gethostname(), calls)


@asynccontextmanager
async def compose(
    settings: Settings, tracing: Tracing | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Parts]:
    """Open store, ledger and providers, which connect when needed, and close them at the end.

    `metrics` are those of this process, if it has counted before. Raise SettingsError.
    """
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        store = _store(settings, tracing)
        stack.push_async_callback(store.close)
        ledger = Ledger.open(database_url(settings), settings.database_connections)
        stack.push_async_callback(ledger.close)
        outcomes = HandOver(store.tallies)

        def link_ended(sid: str, outcome: str) -> None:
            metrics.topup_links.labels(sid, outcome).inc()
            outcomes.count(sid, outcome)

        def webhook_ended(workspace: str, event: str, outcome: str) -> None:
            metrics.webhooks.labels(workspace, event, outcome).inc()
            if outcome == "bad-signature":
                outcomes.count(webhooks_of(workspace), "bad_signature")

        bases = LinkBases(store, ledger, settings)
        providers: dict[str, Provider] = {}
        makers: dict[str, LinkMaker] = {}
        answering = {name: Answering() for name in settings.workspaces}
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
            if tracing is None:
                provider = WatchedProvider(provider, answering[name])
            else:
                from pool.providers.traced import TracedProvider

                provider = TracedProvider(provider, answering[name], name, tracing)
            providers[name] = provider
            makers[name] = LinkMaker(
                name,
                provider,
                store,
                first_rate=settings.provider_rate,
                probe_seconds=settings.probe_seconds,
                counted=link_ended,
                bases=bases,
            )
        notifier = Notifier(settings.notify_url, store) if settings.notify_url else None
        if notifier is not None:
            stack.push_async_callback(notifier.close)
        recorder = Recorder(store, ledger, settings, conflict=metrics.conflicts.inc)
        yield Parts(
            settings=settings,
            store=store,
            ledger=ledger,
            providers=providers,
            makers=makers,
            bases=bases,
            recorder=recorder,
            recovery=PoolRecovery(
                store,
                ledger,
                recorder,
                redis_forgets=settings.redis_forgets,
                fallen=metrics.fence_fell,
                counted=outcomes.count,
            ),
            bookings=Bookings(store, ledger, recorder, providers, counted=webhook_ended),
            erasure=Erasure(store, ledger, recorder, providers),
            pruner=Pruner(store, ledger),
            metrics=metrics,
            outcomes=outcomes,
            notifier=notifier,
            tracing=tracing,
            answering=answering,
        )


def _store(settings: Settings, tracing: Tracing | None) -> Store:
    where = redis_url(settings), secret_key(settings)
    timeout_seconds = settings.claim_timeout_seconds
    if tracing is None:
        return Store.open(*where, timeout_seconds=timeout_seconds)
    # Imported here because it needs the otel extra.
    from pool.store.traced import TracedStore

    return TracedStore.open(*where, timeout_seconds=timeout_seconds, tracing=tracing)
