"""Compose the web application: the claim lane in front, the framework behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from pool.api.claim_path.claim_lane import ClaimLane
from pool.api.http.mount import mount
from pool.api.http.people import People
from pool.api.ops.session.sessions import signed_in
from pool.api.ops.state import open_ops
from pool.api.routes.exposition import Exposition
from pool.api.server.edge import Edge
from pool.api.server.framework import make_framework
from pool.api.server.gate import Gate
from pool.api.server.reloading import on_hang_up, try_reload
from pool.api.service import Service, kept_seconds, open_service
from pool.config.networks import TrustedProxies
from pool.config.settings import Settings
from pool.store.ending import end_tasks
from pool.telemetry.metrics import Metrics
from pool.telemetry.tracing import Tracing
from pool.up.running import Running


class Application:
    """The ASGI application; it passes claims to the lane once the service is open."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        mount(settings.root_path)
        self._settings = settings
        self._tracing = tracing
        self.running: Running | None = None  # set for the only process of an API
        self._closing: set[asyncio.Task[None]] = set()  # services that were replaced
        self.lane: ClaimLane | None = None  # set while the service is open
        self.framework = make_framework(self._lifespan)
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
    people = settings.people_behind_proxies()
    return People(people, TrustedProxies(settings.trusted_proxies)) if people else None
