"""Leave a span for each request to the provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind

from pool.errors import LinkpoolError
from pool.providers.base import Provider
from pool.providers.watched import Answering, WatchedProvider
from pool.telemetry.spans import MEETING, WORKSPACE, failed
from pool.telemetry.tracing import Tracing


class TracedProvider(WatchedProvider):
    """A watched provider whose requests are spans."""

    def __init__(
        self, provider: Provider, answering: Answering, workspace: str, tracing: Tracing
    ) -> None:
        super().__init__(provider, answering)
        self._workspace = workspace
        self._tracing = tracing

    @contextmanager
    def _asking(self, what: str, meeting_sid: str = "") -> Iterator[None]:
        about = {MEETING: meeting_sid} if meeting_sid else {}
        with self._tracing.tracer.start_as_current_span(
            what,
            kind=SpanKind.CLIENT,
            attributes={WORKSPACE: self._workspace, **about},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                with super()._asking(what, meeting_sid):
                    yield
            except LinkpoolError as error:
                failed(span, error)
                raise
