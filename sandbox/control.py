"""The calls under /_control: for tests and for people with curl. They need no key."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import forms
from sandbox.clock import slots, utc_now
from sandbox.core import Sandbox
from sandbox.knobs import KnobError
from sandbox.state import Booking, Refused

LINKS_MOST = 1_000_000
TIMES_MOST = 1000
DELAY_MOST_SECONDS = 86_400


class ControlApi:
    """Looks at and changes the sandbox. Errors are {"error": text}, and name what is wrong."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/_control/state", self.state),
            Route("/_control/links", self.links),
            Route("/_control/calls", self.calls),
            Route("/_control/knobs", self.knobs),
            Route("/_control/knobs", self.turn_knobs, methods=["PATCH"]),
            Route("/_control/reset", self.reset, methods=["POST"]),
            Route("/_control/book", self.book, methods=["POST"]),
            Route("/_control/cancel", self.cancel, methods=["POST"]),
            Route("/_control/reschedule", self.reschedule, methods=["POST"]),
            Route("/_control/emit", self.emit, methods=["POST"]),
        ]

    async def state(self, _request: Request) -> Response:
        """GET state: knobs, counters, what exists, the last deliveries."""
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
        """GET links?meeting_sid=&limit=: every slug, oldest first, with its state."""
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
        """GET calls: the last calls for a link, each with when it came and what it got."""
        return JSONResponse({"calls": list(self._sandbox.counters.calls)})

    async def knobs(self, _request: Request) -> Response:
        """GET knobs: all of them with their values."""
        return JSONResponse({"knobs": self._sandbox.knobs.as_dict()})

    async def turn_knobs(self, request: Request) -> Response:
        """PATCH knobs: all of the object's knobs are set or, when one is wrong, none."""
        try:
            self._sandbox.set_knobs(await forms.json_object(request))
        except KnobError as error:
            return JSONResponse({"error": str(error), "knob": error.knob}, status_code=422)
        return JSONResponse({"knobs": self._sandbox.knobs.as_dict()})

    async def reset(self, _request: Request) -> Response:
        """POST reset: counters, calls and the log of deliveries; links and knobs stay."""
        self._sandbox.counters.reset()
        self._sandbox.webhooks.log.clear()
        return JSONResponse({"counters": self._sandbox.counters.as_dict()})

    async def book(self, request: Request) -> Response:
        """POST book: what the Book button does; with meeting_sid, an ordinary booking."""
        body = await forms.json_object(request)
        forms.known_fields(body, ("slug", "meeting_sid", "name", "email", "answers"))
        slug, sid = body.get("slug"), body.get("meeting_sid")
        if (slug is None) == (sid is None):
            raise Refused(422, "slug, meeting_sid: give one of the two")
        answers = body.get("answers") or {}
        if not isinstance(answers, dict):
            raise Refused(422, "answers: takes an object of field code to text")
        booking = self._sandbox.book(
            slug=None if slug is None else forms.text(slug, "slug"),
            meeting_sid=None if sid is None else forms.text(sid, "meeting_sid"),
            name=forms.text(body.get("name"), "name", "Test Visitor"),
            email=forms.text(body.get("email"), "email", "visitor@example.com"),
            starts_at=slots(utc_now())[0],
            answers=forms.answers(answers.items()),
        )
        return self._answer(booking, status=201)

    async def cancel(self, request: Request) -> Response:
        """POST cancel: what the Cancel button does."""
        return self._answer(self._sandbox.cancel(await _booking_sid(request)))

    async def reschedule(self, request: Request) -> Response:
        """POST reschedule: what the Reschedule button does."""
        return self._answer(self._sandbox.reschedule(await _booking_sid(request)))

    async def emit(self, request: Request) -> Response:
        """POST emit: a webhook once more, about the booking as it now is.

        Only an event other than booking_cancelled shows a cancelled booking as confirmed, as
        a late repeat of the first event would.
        """
        body = await forms.json_object(request)
        forms.known_fields(body, ("booking_sid", "event", "times", "delay_seconds"))
        event = forms.text(body.get("event"), "event")
        booking = self._sandbox.state.booking(forms.text(body.get("booking_sid"), "booking_sid"))
        shown = self._sandbox.booking_json(booking)
        if event != "booking_cancelled":
            shown |= {"status": "confirmed", "cancel_reason": None}
        ids = self._sandbox.webhooks.emit(
            event,
            shown,
            times=int(_number(body, "times", TIMES_MOST, 1)),
            delay_seconds=_number(body, "delay_seconds", DELAY_MOST_SECONDS, None),
        )
        return JSONResponse({"deliveries": ids}, status_code=202)

    def _answer(self, booking: Booking, status: int = 200) -> Response:
        return JSONResponse({"booking": self._sandbox.booking_json(booking)}, status_code=status)


async def _booking_sid(request: Request) -> str:
    body = await forms.json_object(request)
    forms.known_fields(body, ("booking_sid",))
    return forms.text(body.get("booking_sid"), "booking_sid")


def _number(body: dict[str, Any], name: str, most: float, default: Any) -> Any:
    value = body.get(name, default)
    if value is default:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(422, f"{name}: takes a number from 0 to {most:g}")
    return value
