"""Leave a span for each link made on demand."""

from __future__ import annotations

from typing import Self

from opentelemetry.trace import set_span_in_context

from pool.claims.on_demand import OnDemandLinks
from pool.errors import LinkpoolError
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.store.traced import TracedStore
from pool.telemetry.spans import MEETING, WaitingSpans, failed
from pool.telemetry.tracing import Tracing


class TracedOnDemandLinks(OnDemandLinks):
    """Links made on the spot, each in the trace of the claim that wants it."""

    tracing: Tracing
    waiting: WaitingSpans

    def trace(self, store: TracedStore) -> Self:
        """The ladder itself; to be called before anything else."""
        self.tracing, self.waiting = store.tracing, store.waiting
        return self

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        """As the ladder's."""
        wanted = self.waiting.of(meeting.sid, [name])
        with self.tracing.tracer.start_as_current_span(
            "make on the spot",
            context=set_span_in_context(wanted[0]) if wanted else None,
            attributes={MEETING: meeting.sid},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await super().make_and_bind(meeting, name, payload)
            except LinkpoolError as error:
                failed(span, error)
                raise
