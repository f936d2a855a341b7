"""Make a span of each Celery task, in the trace of the request that asked for it.

This is connected only if traces are wanted. The exporter has a thread, so it is made after the
fork, in each worker process.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from opentelemetry import context as contexts
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from pool.telemetry.spans import MEETING, WORKSPACE, failed
from pool.telemetry.tracing import Tracing

_CARRIED = ("traceparent", "tracestate")
_ATTRIBUTES = {"sid": MEETING, "workspace": WORKSPACE}


class TracedTasks:
    """The spans of one worker process, which runs one task at a time."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._running: tuple[Span, Any] | None = None

    def connect(self) -> None:
        """Connect to Celery's signals."""
        signals.before_task_publish.connect(self._publish, weak=False)
        signals.task_prerun.connect(self._begin, weak=False)
        signals.task_failure.connect(self._fail, weak=False)
        signals.task_postrun.connect(self._end, weak=False)

    def _publish(self, headers: dict[str, Any], **_: Any) -> None:
        headers.update(self._tracing.carrier())

    def _begin(self, task: Any, kwargs: dict[str, Any], **_: Any) -> None:
        carried = {name: task.request.get(name) for name in _CARRIED}
        span = self._tracing.tracer.start_span(
            task.name.removeprefix("linkpool.").replace("_", "-"),
            context=self._tracing.context({k: v for k, v in carried.items() if v}),
            kind=SpanKind.CONSUMER,
            attributes={
                _ATTRIBUTES[name]: value
                for name, value in kwargs.items()
                if name in _ATTRIBUTES and value is not None
            },
        )
        self._running = span, contexts.attach(set_span_in_context(span))

    def _fail(self, exception: BaseException, **_: Any) -> None:
        if self._running is not None:
            failed(self._running[0], exception)

    def _end(self, **_: Any) -> None:
        if self._running is not None:
            span, token = self._running
            self._running = None
            contexts.detach(token)
            span.end()
