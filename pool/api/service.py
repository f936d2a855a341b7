"""Build what one API process consists of, and run its background work."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pool.access.api_keys import KeyRing
from pool.access.doors import Doors
from pool.access.public_keys import PublicKeyRing
from pool.access.token_secrets import SecretRing, SecretSource
from pool.access.tokens import Tokens
from pool.access.visitors import Visitors
from pool.alerting.worker_watch import WATCH_SECONDS as WORKER_WATCH_SECONDS
from pool.alerting.worker_watch import WorkerWatch
from pool.api.background import repeat
from pool.api.claim_path.desk_listener import DeskListener
from pool.api.claim_path.public_claims import PublicClaims
from pool.api.claim_path.tally import FLUSH_SECONDS, Tally
from pool.claims.cluster_desk import open_desk
from pool.claims.desk import Desk
from pool.claims.known_meetings import KnownMeetings
from pool.claims.on_demand import NoLinksOnDemand, OnDemandLinks
from pool.claims.replacing import Replacement, Replacer
from pool.claims.roles import OnDemand
from pool.compose import Parts, compose
from pool.config.addresses import broker_url, redis_url, secret_key
from pool.config.networks import TrustedProxies
from pool.config.redis_address import parse_redis
from pool.config.settings import Settings
from pool.config.workspaces import Workspace
from pool.durability.fence_watch import FenceWatch
from pool.durability.recent_claims import FAILOVER_KEPT_SECONDS, KEPT_SECONDS, RecentClaims
from pool.errors import LinkpoolError, UnknownMeeting
from pool.ledger.deadline import within
from pool.model.meetings import Meeting
from pool.model.vitals import BEAT_SECONDS
from pool.nudges import RECORD, TOP_UP, Nudges
from pool.operations.administration import Administration
from pool.operations.health import HealthWatch
from pool.operations.ledger_ready import LedgerReady
from pool.store import Store
from pool.store.ending import end_tasks
from pool.supply.link_bases import refreshed
from pool.telemetry.metrics import Metrics
from pool.telemetry.tracing import Tracing

REFRESH_SECONDS = 1.0
WATCH_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that the routes use."""

    settings: Settings
    parts: Parts
    known_meetings: KnownMeetings
    keys: KeyRing
    tokens: Tokens
    public_claims: PublicClaims
    desk: Desk
    fence_watch: FenceWatch
    nudges: Nudges
    tally: Tally
    doors: Doors
    administration: Administration
    health: HealthWatch
    ledger_ready: LedgerReady
    replacer: Replacer

    def workspace_of(self, meeting: Meeting) -> Workspace:
        """Return a meeting's workspace. Raise UnknownMeeting if it is no longer configured."""
        workspace = self.settings.workspace(meeting.workspace)
        if workspace is None:
            raise UnknownMeeting(f"the workspace of meeting {meeting.sid} is no longer configured")
        return workspace

    def changed(self, meeting: Meeting) -> None:
        """Serve a meeting as it was changed just now, and have its pool filled."""
        self.known_meetings.put(meeting)
        self.nudges.send(TOP_UP, workspace=meeting.workspace)


async def replace_link(
    service: Service,
    meeting: Meeting,
    customer_id: str,
    reason: str,
    actor: str,
    *,
    slug: str | None = None,
) -> Replacement:
    """Replace a customer's link, and remember the new claim in case Redis loses it now.

    Raise the errors of Replacer.replace. Return the replacement.
    """
    pool = service.parts.store.pool_of(meeting, customer_id)
    asserted = service.fence_watch.assertion(pool)
    replacement = await service.replacer.replace(meeting, customer_id, reason, actor, slug=slug)
    service.desk.remember(meeting, customer_id, replacement.claim, replacement.payload)
    service.nudges.send(RECORD, sid=meeting.sid)
    service.nudges.send(TOP_UP, workspace=meeting.workspace)
    await service.fence_watch.catch_up(pool, asserted)
    return replacement


HEALTH_SECONDS = 10.0  # so that /healthz can date the failure of a part


def kept_seconds(settings: Settings) -> float:
    """Return how long an answered claim is kept, to be asserted again after data loss."""
    return FAILOVER_KEPT_SECONDS if parse_redis(redis_url(settings)).fails_over else KEPT_SECONDS


@asynccontextmanager
async def open_service(
    settings: Settings, tracing: Tracing | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Service]:
    """Compose a service and start its background work; end both in order on exit."""
    async with compose(settings, tracing, metrics) as parts:
        nudges = Nudges(broker_url(settings), headers=tracing.carrier if tracing else dict)
        known_meetings = KnownMeetings(parts.store, parts.ledger)
        admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
        keys = KeyRing(parts.ledger, admin_key)
        secrets = SecretRing(parts.ledger, SecretSource(secret_key(settings)))
        recent_claims = RecentClaims(seconds=kept_seconds(settings))
        watch = FenceWatch(parts.store, recent_claims, meeting_of=known_meetings.get)
        worker_watch = WorkerWatch(parts.notifier, parts.store, settings.sweep_seconds)
        tally = Tally(parts.metrics, parts.outcomes.count)
        doors = Doors(TrustedProxies(settings.trusted_proxies), tally.failed_at)
        listener = DeskListener(nudges, tally, watch)

        def desk_on(store: Store, on_demand: OnDemand) -> Desk:
            return open_desk(
                store,
                known_meetings,
                recent_claims,
                on_demand,
                listener,
                timeout_seconds=settings.claim_timeout_seconds,
            )

        desk = desk_on(parts.store, _on_demand_links(parts))
        public_desk = desk_on(parts.store.above_reserve(), NoLinksOnDemand())
        watch.gives_up(desk.give_up, public_desk.give_up)
        public_claims = PublicClaims(
            PublicKeyRing(parts.ledger),
            Visitors(secret_key(settings)),
            public_desk,
            parts.store.visitor_limits,
            settings,
        )
        service = Service(
            settings=settings,
            parts=parts,
            known_meetings=known_meetings,
            keys=keys,
            tokens=Tokens(keys, secrets),
            public_claims=public_claims,
            desk=desk,
            fence_watch=watch,
            nudges=nudges,
            tally=tally,
            doors=doors,
            administration=Administration(
                parts.store, parts.ledger, parts.erasure, parts.recovery, settings
            ),
            health=HealthWatch(parts.store, parts.ledger, settings),
            ledger_ready=LedgerReady(parts.ledger),
            replacer=Replacer(
                parts.store,
                parts.ledger,
                parts.recorder,
                parts.makers,
                timeout_seconds=settings.direct_timeout_seconds,
            ),
        )
        await _look_first(service, secrets)
        nudges.start()
        process = f"api {socket.gethostname()}:{os.getpid()}"

        async def beat() -> None:
            await parts.store.pulses.beat(process, parts.pulse("api"))

        steps: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("meetings", REFRESH_SECONDS, known_meetings.refresh),
            ("link bases", REFRESH_SECONDS, parts.bases.refresh),
            ("keys", 2 * REFRESH_SECONDS, keys.refresh),
            ("token secrets", 2 * REFRESH_SECONDS, secrets.refresh),
            ("public keys", 2 * REFRESH_SECONDS, public_claims.refresh),
            ("metrics", FLUSH_SECONDS, tally.flush),
            ("worker watch", WORKER_WATCH_SECONDS, worker_watch.look),
            ("fence watch", WATCH_SECONDS, watch.look),
            ("outcomes", BEAT_SECONDS, parts.outcomes.flush),
            ("health", HEALTH_SECONDS, service.health.look),
            ("pulse", BEAT_SECONDS, beat),
        ]
        background = [asyncio.create_task(repeat(*step)) for step in steps]
        try:
            yield service
        finally:
            await end_tasks(background)
            await desk.close()
            await public_claims.close()
            await tally.flush(None)
            nudges.stop()
            with suppress(LinkpoolError):
                await parts.outcomes.flush()
                await parts.store.pulses.end(process)


async def _look_first(service: Service, secrets: SecretRing) -> None:
    """Read what claims need. A ledger that is silent must not keep them from being served."""
    with within():
        with suppress(LinkpoolError):
            await service.keys.refresh()
            await secrets.refresh()
            await service.public_claims.refresh()
        await service.known_meetings.refresh()
        await refreshed(service.parts.bases)
        await service.parts.recovery.strangers.guard()


def _on_demand_links(parts: Parts) -> OnDemandLinks:
    made_of = parts.store, parts.ledger, parts.makers
    timeout_seconds = parts.settings.direct_timeout_seconds
    if parts.tracing is None:
        return OnDemandLinks(*made_of, timeout_seconds=timeout_seconds)
    # Imported here because it needs the otel extra, which may not be installed.
    from pool.claims.traced import TracedOnDemandLinks

    return TracedOnDemandLinks(*made_of, timeout_seconds=timeout_seconds, tracing=parts.tracing)
