"""What one API process is made of, and what it does in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from pool.addresses import broker_url, redis_url
from pool.administration import Administration
from pool.api.doors import Doors
from pool.api.tally import FLUSH_SECONDS, Tally
from pool.api.worker_watch import WATCH_SECONDS as WORKER_WATCH_SECONDS
from pool.api.worker_watch import WorkerWatch
from pool.compose import Parts, compose
from pool.desk import Desk
from pool.direct import DirectLadder
from pool.errors import LinkpoolError
from pool.keys import KeyRing
from pool.link_bases import refreshed
from pool.meetings import Meeting
from pool.networks import TrustedProxies
from pool.nudges import RECORD, RECOVER, TOP_UP, Nudges
from pool.redo import FAILOVER_KEPT_SECONDS, KEPT_SECONDS, RedoBuffer
from pool.registry import Registry
from pool.replacing import Replacement, Replacer
from pool.sentinel import is_sentinel
from pool.settings import Settings
from pool.store import Store
from pool.tracing import Tracing

log = structlog.get_logger()

REFRESH_SECONDS = 1.0
WATCH_SECONDS = 0.4
_REDO_CALL = 200  # claims asserted again by one script call
_REDO_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Service:
    """Everything the routes use."""

    settings: Settings
    parts: Parts
    registry: Registry
    keys: KeyRing
    desk: Desk
    nudges: Nudges
    tally: Tally
    doors: Doors
    administration: Administration
    replacer: Replacer


async def replace_link(
    service: Service,
    meeting: Meeting,
    customer_id: str,
    reason: str,
    actor: str,
    *,
    slug: str | None = None,
) -> Replacement:
    """Replace a customer's link, and see to it that a fence which falls now forgets nothing.

    Raises what Replacer.replace does.
    """
    replacement = await service.replacer.replace(meeting, customer_id, reason, actor, slug=slug)
    service.desk.remember(meeting, customer_id, replacement.claim, replacement.payload)
    service.nudges.send(RECORD, sid=meeting.sid)
    service.nudges.send(TOP_UP, workspace=meeting.workspace)
    return replacement


def redo_seconds(settings: Settings) -> float:
    """How long what was answered is kept to be asserted again."""
    return FAILOVER_KEPT_SECONDS if is_sentinel(redis_url(settings)) else KEPT_SECONDS


@asynccontextmanager
async def open_service(
    settings: Settings, tracing: Tracing | None = None
) -> AsyncIterator[Service]:
    """Composes a service, starts its background work, and ends both in order."""
    async with compose(settings, tracing) as parts:
        nudges = Nudges(broker_url(settings), headers=tracing.carrier if tracing else dict)
        registry = Registry(parts.store, parts.ledger)
        admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
        keys = KeyRing(parts.ledger, admin_key)
        redo = RedoBuffer(seconds=redo_seconds(settings))
        watch = FenceWatch(parts.store, redo)
        worker_watch = WorkerWatch(parts)
        tally = Tally(parts.metrics)
        doors = Doors(TrustedProxies(settings.trusted_proxies), tally.failed_at)
        desk = Desk(
            parts.store,
            registry,
            redo,
            _ladder(parts),
            DeskListener(nudges, tally, watch),
            timeout_seconds=settings.claim_timeout_seconds,
        )
        service = Service(
            settings=settings,
            parts=parts,
            registry=registry,
            keys=keys,
            desk=desk,
            nudges=nudges,
            tally=tally,
            doors=doors,
            administration=Administration(
                parts.store, parts.ledger, parts.erasure, parts.fence, settings
            ),
            replacer=Replacer(
                parts.store,
                parts.ledger,
                parts.recorder,
                parts.makers,
                timeout_seconds=settings.direct_timeout_seconds,
            ),
        )
        with suppress(LinkpoolError):
            await keys.refresh()
        await registry.refresh()
        await refreshed(parts.bases)
        nudges.start()
        background = [
            asyncio.create_task(repeat("registry", REFRESH_SECONDS, registry.refresh)),
            asyncio.create_task(repeat("link bases", REFRESH_SECONDS, parts.bases.refresh)),
            asyncio.create_task(repeat("keys", 2 * REFRESH_SECONDS, keys.refresh)),
            asyncio.create_task(repeat("metrics", FLUSH_SECONDS, tally.flush)),
            asyncio.create_task(repeat("worker watch", WORKER_WATCH_SECONDS, worker_watch.look)),
            asyncio.create_task(repeat("fence watch", WATCH_SECONDS, watch.look)),
        ]
        try:
            yield service
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await desk.close()
            await tally.flush()
            nudges.stop()


def _ladder(parts: Parts) -> DirectLadder:
    made_of = parts.store, parts.ledger, parts.makers
    timeout_seconds = parts.settings.direct_timeout_seconds
    if parts.tracing is None:
        return DirectLadder(*made_of, timeout_seconds=timeout_seconds)
    from pool.traced import TracedLadder, TracedStore

    assert isinstance(parts.store, TracedStore)  # noqa: S101 - compose saw to it
    return TracedLadder(*made_of, timeout_seconds=timeout_seconds).trace(parts.store)


async def repeat(what: str, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Runs a step again and again; a failure is logged once until it ends."""
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
            failing = False
        except LinkpoolError as error:
            if not failing:
                log.warning("background step failed", step=what, reason=str(error))
            failing = True
        except Exception:
            log.exception("background step failed", step=what)


class FenceWatch:
    """Asserts again what this process answered lately, as soon as a fence has fallen.

    Claims notice a fallen fence by themselves; this also notices when none come.
    """

    def __init__(
        self, store: Store, redo: RedoBuffer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._redo = redo
        self._clock = clock
        self._epochs: dict[str, str] = {}
        self._asserted: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def fallen(self, sid: str) -> None:
        """Called when a claim met a fallen fence."""
        if self._asserted.get(sid, -_REDO_AGAIN_SECONDS) > self._clock() - _REDO_AGAIN_SECONDS:
            return
        # Now and not in the task: many claims meet the same fallen fence at once.
        self._asserted[sid] = self._clock()
        task = asyncio.create_task(self._assert_again(sid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look(self) -> None:
        """Looks at the fences of the meetings that this process answered lately."""
        known: dict[str, str] = {}
        for sid, fence, epoch in await self._store.recovery.standings(list(self._redo.sids())):
            before = self._epochs.get(sid, epoch)
            # Fallen, or fallen and recovered since the last look.
            if fence == "fallen" or (fence == "stands" and epoch != before):
                self.fallen(sid)
            known[sid] = epoch if fence == "stands" else before
        self._epochs = known

    async def _assert_again(self, sid: str) -> None:
        claims = self._redo.lately(sid)
        conflicts = 0
        try:
            for start in range(0, len(claims), _REDO_CALL):
                conflicts += await self._store.redo(sid, claims[start : start + _REDO_CALL])
        except LinkpoolError as error:
            self._asserted.pop(sid, None)
            log.warning("claims not asserted again yet", meeting=sid, reason=str(error))
            return
        log.info("claims asserted again", meeting=sid, claims=len(claims), conflicts=conflicts)


class DeskListener:
    """Turns what the desk sees into hints for the workers, and into metrics."""

    def __init__(self, nudges: Nudges, tally: Tally, watch: FenceWatch) -> None:
        self._nudges = nudges
        self._watch = watch
        self.batch = tally.batch_size
        self.outcome = tally.outcome

    def claimed(self, meeting: Meeting) -> None:
        """A new link was bound: there is something to record."""
        self._nudges.send(RECORD, sid=meeting.sid)

    def low(self, meeting: Meeting) -> None:
        """The pool is below its target."""
        self._nudges.send(TOP_UP, workspace=meeting.workspace)

    def fenced(self, sid: str) -> None:
        """The fence has fallen."""
        self._watch.fallen(sid)
        self._nudges.send(RECOVER)
