"""Check who may call the API, and write its errors."""

from __future__ import annotations

import hmac
from datetime import timedelta
from email.utils import format_datetime
from http.client import responses

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.clock import utc_now
from sandbox.core import Sandbox

_MESSAGES = {
    400: "Bad request",
    401: "Could not authenticate, invalid API Key",
    403: "You are not allowed to do this",
    404: "Meeting not found",
    422: "This meeting is disabled",
    429: "Too many requests, try again after some time",
}


class Cut(Response):
    """A response that closes the connection without an answer, or 500 if it cannot be closed."""

    def __init__(self) -> None:
        super().__init__(status_code=500)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection of `scope`, if the server handed it over."""
        transport = scope.get("state", {}).get("transport")
        if transport is None:
            await super().__call__(scope, receive, send)
            return
        transport.abort()
        # The server must learn of the loss first, or it would take the silence for a fault.
        while (await receive())["type"] != "http.disconnect":
            pass


class Gate:
    """Check keys and write errors."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def authenticate(self, request: Request) -> Response | None:
        """Return the refusal of a wrong key, or None."""
        given = request.headers.get("x-api-key", "")
        if hmac.compare_digest(given.encode(), self._sandbox.config.api_key.encode()):
            return None
        return self.error(401)

    def error(self, status: int) -> Response:
        """Return an error in NeetoCal's form; a forced 2xx or 204 is an answer without a link."""
        headers = {}
        if status == 429 and (after := self._retry_after()):
            headers["retry-after"] = after
        if status in (204, 304):
            return Response(status_code=status)
        text = _MESSAGES.get(status) or responses.get(status, "Something went wrong")
        return JSONResponse({"error": text}, status_code=status, headers=headers)

    def _retry_after(self) -> str:
        text = self._sandbox.knobs.limit_retry_after
        if text.startswith("date+") and text[5:].isdigit():
            seconds = min(int(text[5:]), 10**8)
            return format_datetime(utc_now() + timedelta(seconds=seconds), usegmt=True)
        return text
