"""Serve the calls under /_control that look at or change the sandbox itself. They need no key."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import forms
from sandbox.core import Sandbox
from sandbox.records import Refused

LINKS_MOST = 1_000_000


class ControlApi:
    """Look at and change the sandbox. Errors are {"error": text}, and name what is wrong."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_control/state", self.state),
            Route("/_control/links", self.links),
            Route("/_control/calls", self.calls),
            Route("/_control/knobs", self.knobs),
            Route("/_control/knobs", self.turn_knobs, methods=["PATCH"]),
            Route("/_control/reset", self.reset, methods=["POST"]),
            Route("/_control/meetings", self.meetings),
            Route("/_control/meeting", self.meeting, methods=["POST"]),
        ]

    async def state(self, _request: Request) -> Response:
        """Answer GET state: knobs, counters, what exists, the last deliveries."""
        sandbox = self._sandbox
        return JSONResponse(
            {
                "knobs": sandbox.knobs.as_dict(),
                "counters": sandbox.counters.as_dict(),
                "public_url": sandbox.config.public_url,
                "any_meeting": sandbox.any_meeting,
                "meetings": len(sandbox.state.meetings),
                "links": len(sandbox.state.links),
                "bookings": len(sandbox.state.bookings),
                "webhooks": {
                    "url": sandbox.config.webhook_url,
                    "signed": bool(sandbox.config.webhook_secret),
                    "pending": sandbox.webhooks.pending,
                    "deliveries": sandbox.webhooks.log_as_dicts(),
                },
            }
        )

    async def links(self, request: Request) -> Response:
        """Answer GET links?meeting_sid=&limit=: every slug, oldest first, with its state."""
        sid = request.query_params.get("meeting_sid")
        limit = request.query_params.get("limit", str(LINKS_MOST))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
            raise Refused(422, "limit: takes a whole number")
        chosen = (
            link
            for link in self._sandbox.state.links.values()
            if sid is None or link.meeting_sid == sid
        )
        return JSONResponse(
            {
                "links": [
                    {**asdict(link), "state": "booked" if link.booking_sid else "unused"}
                    for link in islice(chosen, int(limit))
                ]
            }
        )

    async def calls(self, _request: Request) -> Response:
        """Answer GET calls: the last calls for a link, each with its time and its answer."""
        return JSONResponse({"calls": list(self._sandbox.counters.calls)})

    async def knobs(self, _request: Request) -> Response:
        """Answer GET knobs: all knobs with their values."""
        return JSONResponse({"knobs": self._sandbox.knobs.as_dict()})

    async def turn_knobs(self, request: Request) -> Response:
        """Answer PATCH knobs: set all of the object's knobs or, if one is wrong, none."""
        self._sandbox.set_knobs(await forms.json_object(request))
        return JSONResponse({"knobs": self._sandbox.knobs.as_dict()})

    async def reset(self, _request: Request) -> Response:
        """Answer POST reset: clear counters, calls and deliveries; links and knobs stay."""
        self._sandbox.counters.reset()
        self._sandbox.webhooks.log.clear()
        return JSONResponse({"counters": self._sandbox.counters.as_dict()})

    async def meetings(self, _request: Request) -> Response:
        """Answer GET meetings: how each meeting behaves by the knobs that name meetings."""
        sandbox = self._sandbox
        return JSONResponse(
            {"meetings": [sandbox.rules.as_dict(s) for s in sandbox.state.meetings]}
        )

    async def meeting(self, request: Request) -> Response:
        """Answer POST meeting: disable, delete or refuse one meeting, or change its kind.

        The same as turning the knobs disabled_meetings, deleted_meetings, refuse_meetings
        and meeting_kinds, but other meetings stay as they are.
        """
        body = await forms.fields(request, "meeting_sid", "disabled", "deleted", "refuse", "kind")
        sid = forms.sid(body.get("meeting_sid"), "meeting_sid")
        rules = self._sandbox.rules
        self._sandbox.set_knobs(
            rules.changes(
                sid,
                disabled=forms.flag(body.get("disabled"), "disabled", None),
                deleted=forms.flag(body.get("deleted"), "deleted", None),
                refuse=forms.optional_text(body, "refuse"),
                kind=forms.optional_text(body, "kind"),
            )
        )
        return JSONResponse({"meeting": rules.as_dict(sid)})
