"""Render /metrics: what the processes counted, and the present state of pools and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from pool.api.service import Service
from pool.errors import LedgerError, StoreError
from pool.operations.status import MeetingStatus, statuses
from pool.telemetry.shared_counts import counted, exposed, own_directory

KEPT_SECONDS = 0.5  # a text is reused this long: without a metrics key anybody may ask
_COUNTS_SECONDS = 10.0  # the ledger's counts are read no more often than this


class Exposition:
    """Renders metrics for Prometheus; correct with several API and worker processes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._making = asyncio.Lock()
        self._made_at = -KEPT_SECONDS
        self._text = b""
        self._counted_at = -_COUNTS_SECONDS
        self._unmatched: int | None = None
        self._dead: int | None = None
        self._with_counts: list[MeetingStatus] = []

    async def render(self) -> bytes:
        """Return the text, made anew at most twice a second however many requests come.

        A value that cannot be read at the moment is left out, not guessed.
        """
        async with self._making:
            if time.monotonic() - self._made_at >= KEPT_SECONDS:
                self._text = await self._render()
                self._made_at = time.monotonic()
            return self._text

    async def _render(self) -> bytes:
        # In a thread, since files may be on another host.
        counts = await asyncio.to_thread(self._counted)
        return exposed([*counts, *await self._gauges()])

    def _counted(self) -> Iterable[Metric]:
        """Return the counters of this API's processes, and of workers that show none themselves.

        Other APIs have their own /metrics to scrape.
        """
        own = own_directory()
        return counted(own) if own else self._service.parts.metrics.registry.collect()

    async def _gauges(self) -> list[Metric]:
        parts = self._service.parts
        meetings = self._service.known_meetings.all()
        families = _Families()
        try:
            now = time.monotonic()
            counting = now - self._counted_at >= _COUNTS_SECONDS
            found = await statuses(parts.store, None, meetings)
            if counting:
                self._counted_at = now
                try:
                    self._with_counts = await statuses(parts.store, parts.ledger, meetings)
                    self._unmatched = await parts.ledger.inbox.count("unmatched")
                    self._dead = await parts.ledger.inbox.count("dead")
                except LedgerError:
                    self._with_counts, self._unmatched, self._dead = [], None, None
            for status in found:
                families.meeting(status)
            families.lag.add_metric([], sum(status.unrecorded for status in found))
            for sid, entries in (await parts.store.set_aside.counts()).items():
                families.set_aside.add_metric([sid], entries)
            heartbeat = await parts.store.last_heartbeat_ms()
            if heartbeat is not None:
                families.heartbeat.add_metric([], max(0.0, time.time() - heartbeat / 1000))
            for name in self._service.settings.workspaces:
                rate = await parts.store.budget.rate(name)
                blocked = await parts.store.blocks.of_workspace(name)
                if rate is not None:
                    families.rate.add_metric([name], rate)
                families.blocked.add_metric([name], int(blocked is not None))
        except StoreError:
            families.up.add_metric([], 0)
        else:
            families.up.add_metric([], 1)
        for status in self._with_counts:
            for state, count in status.counts.items():
                if state.value != "fresh":
                    families.links.add_metric([status.meeting.sid, state.value], count)
        if self._unmatched is not None:
            families.unmatched.add_metric([], self._unmatched)
        if self._dead is not None:
            families.dead.add_metric([], self._dead)
        return families.all()


class _Families:
    def __init__(self) -> None:
        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, text, labels=labels)

        self.links = gauge("linkpool_links", "Links of a meeting by state", "meeting", "state")
        self.state = gauge(
            "linkpool_pool_state",
            "1 for the state a pool is in: ok, low, empty, paused, blocked or recovering",
            "meeting",
            "state",
        )
        self.target = gauge(
            "linkpool_fresh_target", "Fresh links that top-up keeps in a pool", "meeting"
        )
        self.runway = gauge(
            "linkpool_runway_seconds",
            "Seconds until a pool is empty at its present claim rate; +Inf while nobody claims",
            "meeting",
        )
        self.oldest = gauge(
            "linkpool_oldest_fresh_seconds", "Age of a pool's oldest fresh link", "meeting"
        )
        self.rate = gauge(
            "linkpool_provider_rate", "Requests per second the budget allows", "workspace"
        )
        self.blocked = gauge(
            "linkpool_provider_blocked",
            "1 while a workspace's provider is only probed, because it refuses requests or is down",
            "workspace",
        )
        self.lag = gauge("linkpool_ledger_lag_claims", "Answered claims not yet in the ledger")
        self.unmatched = gauge(
            "linkpool_unmatched_events", "Booking events that could not be matched to a link"
        )
        self.dead = gauge(
            "linkpool_dead_events", "Booking events that could not be settled and wait for a replay"
        )
        self.heartbeat = gauge(
            "linkpool_worker_heartbeat_seconds", "Seconds since a worker last ran a sweep"
        )
        self.set_aside = gauge(
            "linkpool_set_aside_entries",
            "Entries of a claims stream that could not be read, kept for an operator to inspect",
            "meeting",
        )
        self.up = gauge("linkpool_store_up", "1 while Redis answers, else 0")

    def meeting(self, status: MeetingStatus) -> None:
        """Add the gauges of one meeting."""
        sid = status.meeting.sid
        self.links.add_metric([sid, "fresh"], status.fresh)
        self.state.add_metric([sid, status.state], 1)
        self.target.add_metric([sid], status.target)
        runway = status.runway_seconds
        self.runway.add_metric([sid], float("inf") if runway is None else runway)
        if status.oldest_fresh_seconds is not None:
            self.oldest.add_metric([sid], status.oldest_fresh_seconds)

    def all(self) -> list[Metric]:
        """Return every family, including those without a value."""
        return list(vars(self).values())
