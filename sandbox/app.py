"""Build the web application: put routes together, answer errors, count requests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import pages
from sandbox.api import PREFIX, ExternalApi
from sandbox.control import ControlApi
from sandbox.control_bookings import BookingControl
from sandbox.core import Sandbox
from sandbox.guard import ControlGuard
from sandbox.knob_checks import KnobError
from sandbox.records import Refused
from sandbox.visitor import VisitorPages


def build(sandbox: Sandbox) -> ASGIApp:
    """Return the ASGI application of one sandbox; the end of its lifespan closes the sandbox."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await sandbox.aclose()

    # Each handler gets errors of its own kind only.
    handlers: dict[Any, Any] = {
        Refused: _refused,
        KnobError: _wrong_knob,
        HTTPException: _http_exception,
    }
    app = Starlette(
        routes=[
            *ExternalApi(sandbox).routes(),
            *ControlApi(sandbox).routes(),
            *BookingControl(sandbox).routes(),
            *VisitorPages(sandbox).routes(),
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    return _Counting(ControlGuard(app, sandbox.config.public_url), sandbox)


class _Counting:
    """Count each request by its purpose and the status it got, or `closed` without an answer.

    Control calls are left out, because looking at the counters must not change them.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._counters = sandbox.counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_control/"):
            await self._app(scope, receive, send)
            return
        status = "closed"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._counters.request(path_kind(scope["method"], scope["path"]), status)


def path_kind(method: str, path: str) -> str:
    """Return what a request is for, as one of a few words."""
    if path.startswith(PREFIX + "/"):
        rest = path.removeprefix(PREFIX)
        if rest.endswith("/one-off-links") and method == "POST":
            return "create_link"
        if rest in ("/meetings", "/bookings"):
            return f"list_{rest[1:]}"
        return "get_booking" if rest.startswith("/bookings/") else "other"
    if path in ("/", "/_elsewhere"):
        return "index" if path == "/" else "elsewhere"
    if path == "/javascript/embed.js":
        return "embed_script"
    if path.startswith("/bookings/"):
        return "booking_page"
    if "/" not in path[1:]:
        return "link_page" if method != "POST" else "book"
    return "other"


async def _refused(request: Request, error: Refused) -> Response:
    return _error(request, error.status, str(error))


async def _wrong_knob(_request: Request, error: KnobError) -> Response:
    return JSONResponse({"error": str(error), "knob": error.knob}, status_code=422)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    response = _error(request, error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _error(request: Request, status: int, text: str) -> Response:
    if request.url.path.startswith(("/_control/", "/api/")):
        return JSONResponse({"error": text}, status_code=status)
    head = "There is nothing here" if status == 404 else "That did not work"
    return HTMLResponse(
        pages.message(head, text[:1].upper() + text[1:] + "."),
        status_code=status,
        headers={"content-security-policy": pages.CONTENT_SECURITY_POLICY},
    )
