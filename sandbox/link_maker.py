"""Answer POST …/one-off-links, the call that makes a link, and make it fail in every way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from sandbox.core import Sandbox
from sandbox.gate import Cut, Gate
from sandbox.records import Meeting

HUGE_BYTES = 10 * 1024 * 1024
UNKNOWN_MEETING = "(unknown)"  # in counters, so that made-up SIDs cannot fill the memory
_HTML = "<!doctype html><title>Neeto</title><h1>We are down</h1>"


class LinkMaker:
    """Make links for callers with a right key, unless a knob says otherwise."""

    def __init__(self, sandbox: Sandbox, gate: Gate) -> None:
        self._sandbox = sandbox
        self._gate = gate
        self._answers = 0

    async def create_link(self, request: Request) -> Response:
        """Answer POST …/one-off-links: a new link, unless a knob says otherwise."""
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
            return self._gate.error(knobs.fail_status)
        if (refusal := self._gate.authenticate(request)) is not None:
            return refusal
        if how := sandbox.rules.refusal(sid):
            return await self._refused(request, how)
        if not sandbox.limiter.take(
            time.monotonic(), per_second=knobs.limit_per_second, burst=knobs.limit_burst
        ):
            return self._gate.error(429)
        fate = sandbox.chance.draw()
        if fate is not None:
            sandbox.counters.misbehaved[fate] += 1
        if (spoilt := self._spoilt(fate)) is not None:
            return spoilt
        meeting = None if sandbox.rules.is_deleted(sid) else sandbox.state.meeting(sid)
        if meeting is None:
            return self._gate.error(404)
        if sandbox.rules.is_disabled(sid):
            return self._gate.error(422)
        return await self._made(request, meeting, fate)

    async def _refused(self, request: Request, how: str) -> Response:
        """Return the answer for a meeting that the knob refuse_meetings names. No link is made."""
        if how == "html":
            return HTMLResponse(_HTML)
        if how != "hang":
            return self._gate.error(int(how))
        return Cut() if await self._hang(request) else self._gate.error(500)

    def _spoilt(self, fate: str | None) -> Response | None:
        """Return the answer to a call that fails before a link is made."""
        match fate:
            case "p_429":
                return self._gate.error(429)
            case "p_500":
                return self._gate.error(500)
            case "p_html":
                return HTMLResponse(_HTML)
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
                return Cut() if sandbox.chance.coin() else self._gate.error(500)
            case "p_huge":
                return StreamingResponse(
                    _huge(link.slug, sandbox.link_base_url), media_type="application/json"
                )
        return self._link(link.slug)

    def _link(self, slug: str) -> Response:
        knobs = self._sandbox.knobs
        answer: dict[str, Any] = {"slug": slug, "url": f"{self._sandbox.link_base_url}/{slug}"}
        self._answers += 1
        if knobs.shape == "wrapped" or (knobs.shape == "alternate" and self._answers % 2 == 0):
            answer = {"one_off_link": answer}
        return JSONResponse(answer, status_code=knobs.create_status)

    async def _hang(self, request: Request) -> bool:
        """Wait for hang_seconds or the process's end. Return True if the caller hung up first."""
        over = asyncio.create_task(self._sandbox.pause(self._sandbox.knobs.hang_seconds))
        gone = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
            return not over.done()
        finally:
            over.cancel()
            gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _huge(slug: str, base_url: str) -> AsyncIterator[bytes]:
    """Return a correct answer that is too large to be read whole."""
    yield f'{{"slug": "{slug}", "url": "{base_url}/{slug}", "padding": "'.encode()
    piece = b"x" * 65_536
    for _ in range(HUGE_BYTES // len(piece)):
        yield piece
    yield b'"}'
