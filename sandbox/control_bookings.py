"""Serve the calls under /_control that book, change bookings and send webhooks, without a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import forms
from sandbox.clock import slots, utc_now
from sandbox.core import Sandbox
from sandbox.records import CANCELLED, CONFIRMED, Booking, Refused

TIMES_MOST = 1000
DELAY_MOST_SECONDS = 86_400
MANY_MOST = 20_000
_FORM = ("name", "email", "answers", "starts_at", "time_zone", "created_at")


class BookingControl:
    """Do what visitors and hosts do, as calls. Errors are {"error": text}, naming what is wrong."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Return the routes."""
        calls: dict[str, Callable[[Request], Any]] = {
            "book": self.book,
            "book_many": self.book_many,
            "confirm": self._simply(self._sandbox.confirm),  # paid, or confirmed by hand
            "approve": self._simply(self._sandbox.approve),
            "reject": self._simply(self._sandbox.reject),
            "set_status": self.set_status,
            "cancel": self.cancel,
            "cancel_many": self.cancel_many,
            "reschedule": self.reschedule,
            "emit": self.emit,
            "redeliver": self.redeliver,
        }
        return [Route(f"/_control/{name}", call, methods=["POST"]) for name, call in calls.items()]

    async def book(self, request: Request) -> Response:
        """Answer POST book: do what the Book button does; meeting_sid books the meeting itself.

        `bookings` of the answer has all of a series, the first one first. created_at backdates it.
        """
        body = await forms.fields(request, "slug", "meeting_sid", *_FORM)
        slug = forms.optional_text(body, "slug")
        sid = forms.optional_text(body, "meeting_sid")
        if (slug is None) == (sid is None):
            raise Refused(422, "slug, meeting_sid: give one of the two")
        return self._answer(self._book(slug, sid, body), status=201)

    async def book_many(self, request: Request) -> Response:
        """Answer POST book_many: book each slug of `slugs`, or `meeting_sid` `count` times.

        `{n}` in name and email becomes the booking's number in this call, from 0.
        """
        body = await forms.fields(request, "slugs", "meeting_sid", "count", *_FORM)
        sid = forms.optional_text(body, "meeting_sid")
        slugs: list[str | None]
        if sid is None:
            slugs = [*forms.texts(body.get("slugs"), "slugs", MANY_MOST)]
        else:
            slugs = [None] * int(forms.number(body.get("count"), "count", MANY_MOST))
        made = []
        for number, slug in enumerate(slugs):
            await _let_others_in(number)
            numbered = {
                name: value.replace("{n}", str(number))
                for name in ("name", "email")
                if isinstance(value := body.get(name), str)
            }
            made.append(self._book(slug, sid, body | numbered).sid)
        return JSONResponse({"booking_sids": made}, status_code=201)

    async def set_status(self, request: Request) -> Response:
        """Answer POST set_status: set any text as the status, known or not, without a webhook."""
        body = await forms.fields(request, "booking_sid", "status")
        sid = forms.text(body.get("booking_sid"), "booking_sid")
        return self._answer(self._sandbox.set_status(sid, forms.text(body.get("status"), "status")))

    async def cancel(self, request: Request) -> Response:
        """Answer POST cancel: do what the Cancel button does, for one booking or for its series."""
        body = await forms.fields(
            request, "booking_sid", "series", "reason", "by", "reschedule_requested"
        )
        return self._answer(
            self._sandbox.cancel(
                forms.text(body.get("booking_sid"), "booking_sid"),
                series=bool(forms.flag(body.get("series"), "series", False)),
                reason=forms.text(body.get("reason"), "reason", "Cancelled by the client"),
                by=forms.text(body.get("by"), "by", "client"),
                reschedule_requested=bool(
                    forms.flag(body.get("reschedule_requested"), "reschedule_requested", False)
                ),
            )
        )

    async def cancel_many(self, request: Request) -> Response:
        """Answer POST cancel_many: cancel each booking of `booking_sids`."""
        body = await forms.fields(request, "booking_sids")
        sids = forms.texts(body.get("booking_sids"), "booking_sids", MANY_MOST)
        for number, sid in enumerate(sids):
            await _let_others_in(number)
            self._sandbox.cancel(sid)
        return JSONResponse({"cancelled": len(sids)})

    async def reschedule(self, request: Request) -> Response:
        """Answer POST reschedule: do what that button does; style as in reschedule_style."""
        body = await forms.fields(request, "booking_sid", "style", "starts_at")
        return self._answer(
            self._sandbox.reschedule(
                forms.text(body.get("booking_sid"), "booking_sid"),
                style=forms.optional_text(body, "style"),
                starts_at=forms.moment(body.get("starts_at"), "starts_at"),
            )
        )

    async def emit(self, request: Request) -> Response:
        """Answer POST emit: send a webhook once more, about the booking as it is now.

        An event other than booking_cancelled shows a cancelled booking as confirmed, as a late
        repeat of the first event would.
        """
        body = await forms.fields(request, "booking_sid", "event", "times", "delay_seconds")
        event = forms.text(body.get("event"), "event")
        booking = self._sandbox.state.booking(forms.text(body.get("booking_sid"), "booking_sid"))
        shown = self._sandbox.booking_json(booking)
        if event != "booking_cancelled" and booking.status == CANCELLED:
            shown |= {"status": CONFIRMED, "cancel_reason": None, "cancelled_by": None}
        ids = self._sandbox.webhooks.emit(
            event,
            shown,
            times=int(forms.number(body.get("times"), "times", TIMES_MOST, 1)),
            delay_seconds=(
                None
                if body.get("delay_seconds") is None
                else forms.number(body["delay_seconds"], "delay_seconds", DELAY_MOST_SECONDS)
            ),
        )
        return JSONResponse({"deliveries": ids}, status_code=202)

    async def redeliver(self, request: Request) -> Response:
        """Answer POST redeliver: send a logged delivery again, with the same body and signature."""
        body = await forms.fields(request, "delivery_id")
        number = forms.number(body.get("delivery_id"), "delivery_id", 10**9)
        again = self._sandbox.webhooks.redeliver(int(number))
        return JSONResponse({"deliveries": [again]}, status_code=202)

    def _simply(self, act: Callable[[str], Booking]) -> Callable[[Request], Any]:
        """Return a call that does this to the booking it names."""

        async def call(request: Request) -> Response:
            body = await forms.fields(request, "booking_sid")
            return self._answer(act(forms.text(body.get("booking_sid"), "booking_sid")))

        return call

    def _book(self, slug: str | None, sid: str | None, body: dict[str, Any]) -> Booking:
        answers = body.get("answers") or {}
        if not isinstance(answers, dict):
            raise Refused(422, "answers: takes an object of field code to text")
        return self._sandbox.book(
            slug=slug,
            meeting_sid=sid,
            name=forms.text(body.get("name"), "name", "Test Visitor"),
            email=forms.text(body.get("email"), "email", "visitor@example.com"),
            starts_at=forms.moment(body.get("starts_at"), "starts_at") or slots(utc_now())[0],
            answers=forms.answers(answers.items()),
            time_zone=forms.text(body.get("time_zone"), "time_zone", "UTC"),
            created_at=forms.moment(body.get("created_at"), "created_at"),
        )

    def _answer(self, booking: Booking, status: int = 200) -> Response:
        sandbox = self._sandbox
        series = [sandbox.booking_json(each) for each in sandbox.state.series_of(booking)]
        return JSONResponse(
            {"booking": sandbox.booking_json(booking), "bookings": series}, status_code=status
        )


async def _let_others_in(number: int) -> None:
    """Serve other requests now and then during a long call."""
    if number % 50 == 49:
        await asyncio.sleep(0)
