"""Trace with OpenTelemetry, if `linkpool[otel]` is installed and an OTEL_ variable asks for it.

Without both, OpenTelemetry is not imported and nothing is wrapped. A trace carries meetings,
workspaces, outcomes and counts, never a customer id or a slug.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

log = structlog.get_logger()

_ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Standard names of exporters whose packages register under other names.
_NAMES = {"otlp": "otlp_proto_http"}


def asked_for(environ: Mapping[str, str]) -> str:
    """Return the name of the variable that asks for traces, empty if none does."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").lower()
    if exporter:
        return "" if exporter == "none" else "OTEL_TRACES_EXPORTER"
    return next((name for name in _ASKING if environ.get(name)), "")


def open_tracing(part: str, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return the tracing of this process, None if no variable asks for it.

    `part` is api or worker. A missing package is logged, and the process serves without traces.
    """
    asking = asked_for(environ)
    if not asking:
        return None
    try:
        exporters = list(_exporters(environ.get("OTEL_TRACES_EXPORTER") or "otlp"))
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces: pip install 'linkpool[otel]', or unset what asks", asking=asking)
        return None
    except LookupError as error:
        log.warning("no traces: OTEL_TRACES_EXPORTER names none that is installed", name=str(error))
        return None
    return Tracing(part, [BatchSpanProcessor(exporter) for exporter in exporters])


def _exporters(names: str) -> Iterable[Any]:
    for name in names.lower().replace(" ", "").split(","):
        found = list(
            entry_points(group="opentelemetry_traces_exporter", name=_NAMES.get(name, name))
        )
        if not found and name in ("otlp", "console"):
            raise ImportError(name)
        if not found:
            raise LookupError(name)
        yield found[0].load()()


class Tracing:
    """A tracer, and the headers that carry a trace between processes (W3C traceparent)."""

    def __init__(self, part: str, processors: Iterable[SpanProcessor]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        from pool.telemetry.spans import WaitingSpans

        # The environment's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over these.
        given = os.environ.get("OTEL_SERVICE_NAME") or "linkpool"
        resource = Resource.create({"service.name": given, "linkpool.part": part})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._propagator = TraceContextTextMapPropagator()
        self.waiting = WaitingSpans()
        self.tracer: Tracer = self._provider.get_tracer("linkpool")

    def carrier(self) -> dict[str, str]:
        """Return the current trace as headers, empty outside of a trace."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def context(self, headers: Mapping[str, str]) -> Context:
        """Return the trace that headers carry, a new one if they carry no valid trace."""
        return self._propagator.extract(headers)

    def close(self) -> None:
        """Send the spans that wait, and end."""
        self._provider.shutdown()
