"""Leave a span for each link made on demand."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import set_span_in_context

from pool.claims.on_demand import OnDemandLinks
from pool.errors import LinkpoolError
from pool.model.links import Claim
from pool.model.meetings import Meeting
from pool.telemetry.spans import MEETING, failed
from pool.telemetry.tracing import Tracing


class TracedOnDemandLinks(OnDemandLinks):
    """Links made on the spot, each in the trace of the claim that wants it."""

    def __init__(self, *args: Any, tracing: Tracing, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tracing = tracing

    async def make_and_bind(
        self, meeting: Meeting, name: str, payload: bytes
    ) -> tuple[Claim, bool]:
        """Make and bind a link within a span of its own."""
        wanted = self._tracing.waiting.of(meeting.sid, [name])
        with self._tracing.tracer.start_as_current_span(
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
