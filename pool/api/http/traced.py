"""Leave a span for each request outside the claim path."""

from __future__ import annotations

from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pool.api.http.messages import Headers
from pool.model.links import is_sid
from pool.telemetry.spans import MEETING
from pool.telemetry.tracing import Tracing

CARRIED = (b"traceparent", b"tracestate")


class TracedEdge:
    """The edge of the framework, with a span for each request, named for its route."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call, within a span if it is an HTTP request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracing.tracer.start_as_current_span(
            "request",
            context=self._tracing.context(carried(scope["headers"])),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,
        ) as span:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, send_noted)
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            sid = scope.get("path_params", {}).get("sid", "")
            if is_sid(sid):
                span.set_attribute(MEETING, sid)


def carried(headers: Headers) -> dict[str, str]:
    """Return the headers that carry the caller's trace."""
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in CARRIED}
