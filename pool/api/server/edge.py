"""Wrap the framework: give requests an id, bound their bodies, answer all errors as problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pool.api.http import cors, problems
from pool.api.http.access_log import Access
from pool.api.http.messages import (
    NOSNIFF,
    Answer,
    Disconnected,
    body_limit_bytes,
    read_body,
    request_id,
)
from pool.config.networks import TrustedProxies
from pool.errors import LinkpoolError
from pool.ledger.deadline import within

if TYPE_CHECKING:
    from pool.api.http.people import People
    from pool.api.server.gate import Gate

log = structlog.get_logger()


class Edge:
    """The outermost layer; it reads each body, within bounds, before the framework sees it."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._warned = False  # warned once only: anybody can send the header
        self.gate: Gate | None = None  # set while the service is open
        self.people: People | None = None  # set where proxies name people

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(scope["headers"])
        scope = self._seen(scope)
        with Access(scope, identity) as access:
            await self._serve(access, identity, receive, send)

    def _seen(self, scope: Scope) -> Scope:
        """Return the request with the client and scheme that the outermost trusted proxy saw."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if self.people is not None:
            scope = self.people.seen(scope, peer)
        headers = scope["headers"]
        if not self._proxies.trusts(peer):
            if not self._warned and any(name == b"x-forwarded-for" for name, _ in headers):
                self._warned = True
                log.warning(
                    "an untrusted proxy", address=peer,
                    to_do="if it is yours, add it to LINKPOOL_TRUSTED_PROXIES; until then all its "
                    "visitors count as one address",
                )  # fmt: skip
            return scope
        scheme = "https" if self._proxies.secure(headers, peer) else scope["scheme"]
        return {**scope, "client": (self._proxies.address(headers, peer), 0), "scheme": scheme}

    async def _serve(self, access: Access, identity: bytes, receive: Receive, send: Send) -> None:
        scope = access.scope
        started = False
        head_only = scope["method"] == "HEAD"
        cross_origin = cors.headers(scope)

        async def stamped(message: Message) -> None:
            nonlocal started
            if started and head_only:
                return
            access.note(message)
            if message["type"] == "http.response.start":
                started = True
                headers = [*message["headers"], (b"x-request-id", identity), *cross_origin]
                if not any(name == NOSNIFF[0] for name, _ in headers):
                    headers.append(NOSNIFF)
                message["headers"] = headers
            await send(message)
            if head_only:
                # End now, since the body may be a stream without end.
                await send({"type": "http.response.body", "body": b""})

        path = scope["path"]
        try:
            if self.gate is not None:
                access.stranger = not await self.gate.check(scope)
            body = await read_body(scope, receive, body_limit_bytes(path))
        except Disconnected:
            return
        except LinkpoolError as error:
            await _send(stamped, problems.render_error(error, path))
            return
        except TimeoutError:
            problem = problems.BY_NAME["request-timeout"]
            await _send(stamped, problems.render(problem, "the body arrived too slowly", path))
            return
        if cors.is_preflight(scope):
            await _send(stamped, cors.PREFLIGHT)
            return
        if path.startswith("/v1/"):
            # Bodies are JSON whatever their Content-Type: `curl -d` sends "form" by default.
            others = [each for each in scope["headers"] if each[0] != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
        if head_only:
            # The framework does not serve HEAD by itself.
            scope = {**scope, "method": "GET"}
        access.scope = scope
        try:
            with within() as deadline:

                async def answered(message: Message) -> None:
                    deadline.lift()
                    await stamped(message)

                await self._app(scope, _replay(body, receive), answered)
        except Exception:
            log.exception("request failed")
            if not started:
                problem = problems.BY_NAME["internal-error"]
                await _send(stamped, problems.render(problem, "the request failed", path))


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
