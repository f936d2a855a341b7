"""The external API, as far as it is known: one-off links, meetings, bookings."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from http.client import responses
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.answers import chosen, meeting_json, page_of
from sandbox.clock import utc_now
from sandbox.core import Sandbox
from sandbox.state import Meeting, Refused

PREFIX = "/api/external/v2"
HUGE_BYTES = 10 * 1024 * 1024
UNKNOWN_MEETING = "(unknown)"  # in counters, so that made-up SIDs cannot fill the memory
_MESSAGES = {
    400: "Bad request",
    401: "Could not authenticate, invalid API Key",
    403: "You are not allowed to do this",
    404: "Meeting not found",
    422: "This meeting is disabled",
    429: "Too many requests, try again after some time",
}


class Cut(Response):
    """No answer: the connection closes. Where there is none to close, as in tests, a 500."""

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


class ExternalApi:
    """The calls under /api/external/v2."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._answers = 0

    def routes(self) -> list[Route]:
        """The routes, to be put before the page of a slug."""
        link = PREFIX + "/meetings/{sid}/one-off-links"
        return [
            Route(link, self.create_link, methods=["POST"]),
            Route(PREFIX + "/meetings", self.list_meetings),
            Route(PREFIX + "/bookings", self.list_bookings),
            Route(PREFIX + "/bookings/{sid}", self.get_booking),
        ]

    async def create_link(self, request: Request) -> Response:
        """POST …/one-off-links: a new link, unless a knob says otherwise."""
        counters = self._sandbox.counters
        sid = request.path_params["sid"]
        came_at = time.time()
        status = "gone"  # the caller hung up, or the process is ending
        counters.create_begins()
        try:
            response = await self._create_link(request, sid)
            status = "closed" if isinstance(response, Cut) else str(response.status_code)
            return response
        finally:
            known = sid if sid in self._sandbox.state.meetings else UNKNOWN_MEETING
            counters.create_ends(known, status, came_at)

    async def _create_link(self, request: Request, sid: str) -> Response:
        sandbox, knobs = self._sandbox, self._sandbox.knobs
        await sandbox.pause(sandbox.chance.latency_seconds())
        if knobs.fail_status and knobs.fail_meeting in ("", sid):
            return self._error(knobs.fail_status)
        if (refusal := self._authenticate(request)) is not None:
            return refusal
        if not sandbox.limiter.take(
            time.monotonic(), per_second=knobs.limit_per_second, burst=knobs.limit_burst
        ):
            return self._error(429)
        fate = sandbox.chance.draw()
        if fate is not None:
            sandbox.counters.misbehaved[fate] += 1
        if (spoilt := self._spoilt(fate)) is not None:
            return spoilt
        meeting = sandbox.state.meeting(sid)
        if meeting is None:
            return self._error(404)
        if sandbox.is_disabled(sid):
            return self._error(422)
        return await self._made(request, meeting, fate)

    def _spoilt(self, fate: str | None) -> Response | None:
        """The answer of a call that goes wrong before a link is made."""
        match fate:
            case "p_429":
                return self._error(429)
            case "p_500":
                return self._error(500)
            case "p_html":
                return HTMLResponse("<!doctype html><title>Neeto</title><h1>We are down</h1>")
            case "p_empty":
                return Response(media_type="application/json")
            case "p_redirect":
                where = f"{self._sandbox.config.public_url}/_elsewhere"
                return Response(status_code=307, headers={"location": where})
            case _:
                return None

    async def _made(self, request: Request, meeting: Meeting, fate: str | None) -> Response:
        sandbox = self._sandbox
        if fate == "p_bad_slug":
            return self._link(sandbox.chance.bad_slug())
        if fate == "p_duplicate" and meeting.recent_slugs:
            return self._link(sandbox.chance.pick(meeting.recent_slugs))
        link = sandbox.state.make_link(meeting)
        sandbox.counters.links_by_meeting[meeting.sid] += 1
        match fate:
            case "p_hang":
                if await self._hang(request):
                    return Cut()
            case "p_lost":
                return Cut() if sandbox.chance.coin() else self._error(500)
            case "p_huge":
                return StreamingResponse(
                    _huge(link.slug, sandbox.config.public_url), media_type="application/json"
                )
        return self._link(link.slug)

    def _link(self, slug: str) -> Response:
        knobs = self._sandbox.knobs
        answer: dict[str, Any] = {
            "slug": slug,
            "url": f"{self._sandbox.config.public_url}/{slug}",
        }
        self._answers += 1
        if knobs.shape == "wrapped" or (knobs.shape == "alternate" and self._answers % 2 == 0):
            answer = {"one_off_link": answer}
        return JSONResponse(answer, status_code=knobs.create_status)

    async def _hang(self, request: Request) -> bool:
        """Wait for hang_seconds or the end of the process. True: the caller hung up first."""
        over = asyncio.create_task(self._sandbox.pause(self._sandbox.knobs.hang_seconds))
        gone = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
            return not over.done()
        finally:
            over.cancel()
            gone.cancel()

    async def list_meetings(self, request: Request) -> Response:
        """GET /meetings."""
        if (refusal := await self._before_reading(request)) is not None:
            return refusal
        known = list(self._sandbox.state.meetings.values())
        meetings, pagination = page_of(known, request.query_params)
        shown = [meeting_json(m, disabled=self._sandbox.is_disabled(m.sid)) for m in meetings]
        return JSONResponse({"meetings": shown, "pagination": pagination})

    async def list_bookings(self, request: Request) -> Response:
        """GET /bookings, filtered, sorted and in pages."""
        if (refusal := await self._before_reading(request)) is not None:
            return refusal
        found = chosen(list(self._sandbox.state.bookings.values()), request.query_params)
        bookings, pagination = page_of(found, request.query_params)
        shown = [self._sandbox.booking_json(booking) for booking in bookings]
        return JSONResponse({"bookings": shown, "pagination": pagination})

    async def get_booking(self, request: Request) -> Response:
        """GET /bookings/{sid}."""
        if (refusal := await self._before_reading(request)) is not None:
            return refusal
        try:
            booking = self._sandbox.state.booking(request.path_params["sid"])
        except Refused:
            return JSONResponse({"error": "Booking not found"}, status_code=404)
        return JSONResponse(self._sandbox.booking_json(booking))

    async def _before_reading(self, request: Request) -> Response | None:
        await self._sandbox.pause(self._sandbox.chance.latency_seconds())
        knobs = self._sandbox.knobs
        if knobs.fail_reads and knobs.fail_status:
            return self._error(knobs.fail_status)
        return self._authenticate(request)

    def _authenticate(self, request: Request) -> Response | None:
        given = request.headers.get("x-api-key", "")
        if hmac.compare_digest(given.encode(), self._sandbox.config.api_key.encode()):
            return None
        return self._error(401)

    def _error(self, status: int) -> Response:
        """An error in NeetoCal's form; a forced 2xx or 204 is an answer without a link."""
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


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _huge(slug: str, base_url: str) -> AsyncIterator[bytes]:
    """A correct answer that nobody should read to its end."""
    yield f'{{"slug": "{slug}", "url": "{base_url}/{slug}", "padding": "'.encode()
    piece = b"x" * 65_536
    for _ in range(HUGE_BYTES // len(piece)):
        yield piece
    yield b'"}'
