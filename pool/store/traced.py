"""Trace the scripts that hand out or add links, with a span for each call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.trace import Link, Span, SpanKind, set_span_in_context
from redis.asyncio import Redis

from pool.model.links import Claim
from pool.model.pools import sid_of
from pool.store import Store
from pool.store.bindings import CustomerNames
from pool.store.cluster.wire import ClusterWire
from pool.store.records import Answer, Batch
from pool.store.wire import Wire
from pool.telemetry.spans import CUSTOMERS, MEETING, OUTCOME
from pool.telemetry.tracing import Tracing


class TracedStore(Store):
    """A store that records a span for each script call that hands out or adds links."""

    def __init__(
        self,
        redis: Redis,
        names: CustomerNames,
        wire: Wire | ClusterWire | None = None,
        *,
        tracing: Tracing,
    ) -> None:
        super().__init__(redis, names, wire)
        self._tracing = tracing

    def _span(
        self, name: str, sid: str, links: Sequence[Link] = ()
    ) -> AbstractContextManager[Span]:
        return self._tracing.tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={MEETING: sid_of(sid)},
            links=links,
            record_exception=False,
        )

    def claim_at_once(self, *_: Any) -> None:
        """Return None, so that `claim` is used: a span is current only in a task of its own."""

    async def claim(self, sid: str, customers: Sequence[tuple[str, bytes]]) -> Batch:
        """Record one script call for many claims in the trace of the first, linked to the rest."""
        waiting = self._tracing.waiting.of(sid_of(sid), [name for name, _ in customers])
        if waiting:
            # It stays current for the rest of this batch, since its nudges to workers belong to it.
            contexts.attach(set_span_in_context(waiting[0]))
        links = [Link(other.get_span_context()) for other in waiting[1:]]
        with self._span("claim script", sid, links) as span:
            span.set_attribute(CUSTOMERS, len(customers))
            batch = await super().claim(sid, customers)
            span.set_attribute("linkpool.level", batch.level)
            return batch

    async def bind(self, sid: str, epoch: str, slug: str, name: str, payload: bytes) -> Answer:
        """Record the binding of a link made on the spot."""
        with self._span("bind script", sid) as span:
            answer = await super().bind(sid, epoch, slug, name, payload)
            span.set_attribute(OUTCOME, answer.outcome.value)
            return answer

    async def add(self, sid: str, epoch: str, slugs: Sequence[str], made_at_ms: int) -> int:
        """Record that new links enter a pool."""
        with self._span("add script", sid) as span:
            span.set_attribute("linkpool.links", len(slugs))
            return await super().add(sid, epoch, slugs, made_at_ms)

    async def mark(
        self,
        sid: str,
        slug: str,
        customer_id: str | None,
        claim: Claim | None,
        *,
        instead_of: str = "",
    ) -> bool:
        """Record that a booking is written to Redis."""
        with self._span("mark script", sid):
            return await super().mark(sid, slug, customer_id, claim, instead_of=instead_of)
