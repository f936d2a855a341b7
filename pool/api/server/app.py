"""Compose the web application: the claim lane in front, the framework behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from pool.api.claim_path.claim_lane import ClaimLane
from pool.api.demo.routes import router as demo_router
from pool.api.http import problems
from pool.api.http.messages import response_of
from pool.api.http.mount import mount, url
from pool.api.http.people import People
from pool.api.ops.routes import router as ops_router
from pool.api.ops.session.sessions import signed_in
from pool.api.ops.state import open_ops
from pool.api.routes import (
    claims,
    docs,
    embed_claims,
    embeds,
    events,
    meetings,
    public_keys,
    system,
    tag,
    tokens,
)
from pool.api.routes.examples import give_examples
from pool.api.routes.exposition import Exposition
from pool.api.server.edge import Edge
from pool.api.server.front_page import router as front_router
from pool.api.server.gate import KEYLESS, Gate
from pool.api.server.reloading import on_hang_up, try_reload
from pool.api.service import Service, kept_seconds, open_service
from pool.config.networks import TrustedProxies
from pool.config.proxy_people import proxy_people
from pool.config.settings import Settings
from pool.errors import InvalidRequest, LinkpoolError
from pool.store.ending import end_tasks
from pool.telemetry.metrics import Metrics
from pool.telemetry.tracing import Tracing
from pool.up.running import Running

# The validation library's error types for a body that is not an object.
_NO_OBJECT = ("model_type", "model_attributes_type")
_STATUS_PROBLEMS = {404: "not-found", 405: "method-not-allowed"}


class Application:
    """The ASGI application; it passes claims to the lane once the service is open."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        mount(settings.root_path)
        self._settings = settings
        self._tracing = tracing
        self.running: Running | None = None  # set for the only process of an API
        self._closing: set[asyncio.Task[None]] = set()  # services that were replaced
        self.lane: ClaimLane | None = None  # set while the service is open
        self.framework = _framework(self._lifespan)
        self._edge = Edge(self._inside(), TrustedProxies(settings.trusted_proxies))
        self._app: ASGIApp = self._edge

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI call."""
        return self._app(scope, receive, send)

    def _inside(self) -> ASGIApp:
        if self._tracing is None:
            return self.framework
        from pool.api.http.traced import TracedEdge

        return TracedEdge(self.framework, self._tracing)

    def _lane(self, edge: ASGIApp, service: Service) -> ClaimLane:
        made_of = (
            edge, service.desk, service.known_meetings, service.keys, self._settings, service.tally,
            service.doors,
        )  # fmt: skip
        if self._tracing is None:
            return ClaimLane(*made_of)
        from pool.api.claim_path.traced import TracedLane

        return TracedLane(*made_of, tracing=self._tracing, names=service.parts.store.names)

    @asynccontextmanager
    async def _lifespan(self, _framework: FastAPI) -> AsyncIterator[None]:
        self._serving = await self._open(self._settings)
        try:
            with on_hang_up(self._try_reload) if self.running is not None else nullcontext():
                yield
        finally:
            self._app, self.lane, self._edge.gate = self._edge, None, None
            await end_tasks(self._closing)
            await self._serving.aclose()
            if self._tracing is not None:
                self._tracing.close()

    async def _open(self, settings: Settings, metrics: Metrics | None = None) -> AsyncExitStack:
        """Open a service, and pass requests on to it. Return what closes it."""
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(
                open_service(settings, self._tracing, metrics)
            )
            ops = await stack.enter_async_context(open_ops(service))
            edge, state = self._edge, self.framework.state
            self._settings = settings
            edge.people = _people(settings)
            edge.gate = Gate(service, lambda scope: signed_in(ops.sessions, Request(scope)))
            lane = self._lane(edge, service)
            state.service, state.lane, state.ops = service, lane, ops
            state.exposition = Exposition(service)
            state.document = None  # it names the workspaces' scripts
            self._app = self.lane = lane
            return stack.pop_all()

    async def _try_reload(self) -> None:
        await try_reload(self._settings, self.running, self.take)

    async def take(self, settings: Settings) -> None:
        """Serve with these settings from now on; claims under way are answered by the old."""
        old, service = self._serving, self.framework.state.service
        self._serving = await self._open(settings, service.parts.metrics)
        seconds = kept_seconds(service.settings) + 1  # it may have to assert its claims

        async def close() -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                await old.aclose()

        closing = asyncio.create_task(close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _people(settings: Settings) -> People | None:
    """Return the people whom trusted proxies name, None if the settings believe no proxy."""
    people = proxy_people(settings)
    return People(people, TrustedProxies(settings.trusted_proxies)) if people else None


def _framework(lifespan: Any) -> FastAPI:
    app = FastAPI(
        title="linkpool",
        version=version("linkpool"),
        summary="One-off scheduling links, made ahead of time",
        lifespan=lifespan,
        redirect_slashes=False,
        # The framework's pages load scripts from other hosts; routes/docs.py has one without.
        docs_url=None,
        # The framework's route would write the document anew for each request.
        openapi_url=None,
        redoc_url=None,
    )
    for module in (
        claims,
        tokens,
        embed_claims,
        embeds,
        public_keys,
        meetings,
        events,
        system,
        docs,
        tag,
    ):
        app.include_router(module.router)
    app.include_router(ops_router)
    app.include_router(demo_router)
    app.include_router(front_router)
    app.add_exception_handler(LinkpoolError, _linkpool_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    # Otherwise the framework answers in plain text. Either way the edge sees the error and logs it.
    app.add_exception_handler(Exception, _defect)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: how keys are sent, the claim's schemas, the problems."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            document["servers"] = [{"url": url("") or "/"}]
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(
                claims.OPENAPI_COMPONENTS | embed_claims.OPENAPI_COMPONENTS
            )
            components["securitySchemes"] = {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            for path, operations in document["paths"].items():
                _describe_problems(operations)
                keyed = path.startswith("/v1/") or path == "/healthz"
                if keyed and not path.startswith(KEYLESS):
                    for operation in operations.values():
                        operation["security"] = [{"key": []}, {"bearer": []}]
            give_examples(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe_problems(operations: dict[str, Any]) -> None:
    """Declare every error a problem document; the framework declares them plain JSON."""
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            if status >= "400":
                schema = {"$ref": "#/components/schemas/ProblemBody"}
                answer["content"] = {problems.CONTENT_TYPE.decode(): {"schema": schema}}


async def _linkpool_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LinkpoolError):
        raise error
    return response_of(problems.render_error(error, request.url.path))


async def _invalid(request: Request, error: Exception) -> Response:
    details = error.errors() if isinstance(error, RequestValidationError) else []
    if any(detail["type"] == "json_invalid" for detail in details):
        problem = problems.BY_NAME["malformed-json"]
        return response_of(problems.render(problem, "the body is not JSON", request.url.path))
    if any(detail["loc"] == ("body",) and detail["type"] in _NO_OBJECT for detail in details):
        problem = problems.BY_NAME["malformed-json"]
        detail = "the body must be a JSON object, sent with Content-Type: application/json"
        return response_of(problems.render(problem, detail, request.url.path))
    reasons = [
        f"{'.'.join(str(part) for part in detail['loc'][1:]) or 'body'}: {detail['msg']}"
        for detail in details
    ]
    invalid = InvalidRequest("invalid request", reasons)
    return response_of(problems.render_error(invalid, request.url.path))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    name = _STATUS_PROBLEMS.get(error.status_code, "invalid-request")
    status, headers, body = problems.render(
        problems.BY_NAME[name], str(error.detail), request.url.path
    )
    theirs = [
        (key.lower().encode(), value.encode()) for key, value in (error.headers or {}).items()
    ]
    # HEAD is served wherever GET is: see Edge.
    theirs = [(key, _with_head(value) if key == b"allow" else value) for key, value in theirs]
    return response_of((status, [*headers, *theirs], body))


def _with_head(allowed: bytes) -> bytes:
    methods = allowed.split(b", ")
    return allowed + b", HEAD" if b"GET" in methods and b"HEAD" not in methods else allowed


async def _defect(request: Request, _error: Exception) -> Response:
    problem = problems.BY_NAME["internal-error"]
    return response_of(problems.render(problem, "the request failed", request.url.path))
