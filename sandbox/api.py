"""Serve the external API, as far as it is known: one-off links, meetings, bookings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.answers import meeting_json
from sandbox.core import Sandbox
from sandbox.gate import Gate
from sandbox.link_maker import LinkMaker
from sandbox.listing import page_of
from sandbox.records import Refused

PREFIX = "/api/external/v2"


class ExternalApi:
    """The calls under /api/external/v2."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._gate = Gate(sandbox)
        self._maker = LinkMaker(sandbox, self._gate)

    def routes(self) -> list[Route]:
        """Return the routes, which must stand before the page of a slug."""
        link = PREFIX + "/meetings/{sid}/one-off-links"
        return [
            Route(link, self._maker.create_link, methods=["POST"]),
            Route(PREFIX + "/meetings", self.list_meetings),
            Route(PREFIX + "/bookings", self.list_bookings),
            Route(PREFIX + "/bookings/{sid}", self.get_booking),
        ]

    async def list_meetings(self, request: Request) -> Response:
        """Answer GET /meetings."""
        if (refusal := await self._before_reading(request)) is not None:
            return refusal
        rules = self._sandbox.rules
        known = [m for m in self._sandbox.state.meetings.values() if not rules.is_deleted(m.sid)]
        meetings, pagination = page_of(known, request.query_params)
        shown = [meeting_json(m, disabled=rules.is_disabled(m.sid)) for m in meetings]
        return JSONResponse({"meetings": shown, "pagination": pagination})

    async def list_bookings(self, request: Request) -> Response:
        """Answer GET /bookings, filtered, sorted and in pages."""
        if (refusal := await self._before_reading(request)) is not None:
            return refusal
        found = self._sandbox.listing.find(request.query_params)
        bookings, pagination = page_of(found, request.query_params)
        shown = [self._sandbox.booking_json(booking) for booking in bookings]
        return JSONResponse({"bookings": shown, "pagination": pagination})

    async def get_booking(self, request: Request) -> Response:
        """Answer GET /bookings/{sid}."""
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
            return self._gate.error(knobs.fail_status)
        return self._gate.authenticate(request)
