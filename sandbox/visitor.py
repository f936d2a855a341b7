"""What a person can click: the index, a link's booking page, a booking's page."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox import forms, pages
from sandbox.clock import slots, utc_now
from sandbox.core import Sandbox
from sandbox.knobs import knob_facts
from sandbox.state import Link, Refused

RECENT = 12


class VisitorPages:
    """The HTML side of the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """The routes; the page of a slug takes every path of one segment, so it comes last."""
        return [
            Route("/", self.index),
            Route("/_elsewhere", self.elsewhere, methods=["GET", "POST"]),
            Route("/bookings/{sid}", self.booking),
            Route("/bookings/{sid}/cancel", self.cancel, methods=["POST"]),
            Route("/bookings/{sid}/reschedule", self.reschedule, methods=["POST"]),
            Route("/{slug}", self.link),
            Route("/{slug}", self.book, methods=["POST"]),
        ]

    async def index(self, _request: Request) -> Response:
        """What there is, for a person who opens the sandbox's address."""
        sandbox = self._sandbox
        made = sandbox.counters.links_by_meeting
        knobs, facts = sandbox.knobs.as_dict(), knob_facts()
        return _html(
            pages.index(
                subdomain=sandbox.config.subdomain,
                webhook_url=sandbox.config.webhook_url or "nobody (no --webhook-url was given)",
                meetings=[
                    (m.sid, m.name, made[m.sid])
                    for m in islice(sandbox.state.meetings.values(), 100)
                ],
                links=islice(reversed(sandbox.state.links.values()), RECENT),
                bookings=[
                    (booking, self._meeting_name(booking.meeting_sid))
                    for booking in islice(reversed(sandbox.state.bookings.values()), RECENT)
                ],
                deliveries=[
                    (d.event, d.booking_sid, d.state, d.last_error or str(d.last_status or ""))
                    for d in islice(reversed(sandbox.webhooks.log), RECENT)
                ],
                knobs=[(n, str(value), value != facts[n][0]) for n, value in knobs.items()],
            )
        )

    async def elsewhere(self, _request: Request) -> Response:
        """Where p_redirect points to. A client that comes here followed a redirect."""
        return PlainTextResponse("A client that respects its API key does not come here.\n")

    async def link(self, request: Request) -> Response:
        """The page of a slug: a form while it is unused, then "link expired"."""
        link = self._link(request)
        if link.booking_sid is not None:
            return self._expired(link)
        given = forms.answers(request.query_params.multi_items())
        name, email = given.pop("name", ""), given.pop("email", "")
        return self._form(link, name=name, email=email, answers=given)

    async def book(self, request: Request) -> Response:
        """The Book button. Every hidden field comes back as an answer to its field code."""
        link = self._link(request)
        pairs = await forms.form_pairs(request)
        if link.booking_sid is not None:
            return self._expired(link)
        form = dict(pairs)
        name = forms.text(form.get("name"), "name", "").strip()
        email = forms.text(form.get("email"), "email", "").strip()
        answers = forms.answers(_answers(pairs))
        starts_at = form.get("starts_at")
        told = ""
        if not name or "@" not in email:
            told = "Please fill in your name and your e-mail address."
        elif starts_at not in slots(utc_now()):
            told = "Please pick one of these times."
        if told or starts_at is None:
            return self._form(link, name=name, email=email, answers=answers, told=told)
        booking = self._sandbox.book(
            slug=link.slug,
            meeting_sid=None,
            name=name,
            email=email,
            starts_at=starts_at,
            answers=answers,
        )
        return _see(booking.sid)

    async def booking(self, request: Request) -> Response:
        """The page of a booking: "You are booked", Reschedule, Cancel."""
        booking = self._sandbox.state.booking(request.path_params["sid"])
        return _html(pages.booked(booking, self._meeting_name(booking.meeting_sid)))

    async def cancel(self, request: Request) -> Response:
        """The Cancel button."""
        return _see(self._sandbox.cancel(request.path_params["sid"]).sid)

    async def reschedule(self, request: Request) -> Response:
        """The Reschedule button."""
        return _see(self._sandbox.reschedule(request.path_params["sid"]).sid)

    def _link(self, request: Request) -> Link:
        link = self._sandbox.state.links.get(request.path_params["slug"])
        if link is None:
            raise Refused(404, "there is no link of this slug")
        return link

    def _expired(self, link: Link) -> Response:
        # 200, as it is a page for a person and not an error of the site that embeds it.
        return _html(pages.expired(self._meeting_name(link.meeting_sid)))

    def _form(
        self, link: Link, *, name: str, email: str, answers: dict[str, str], told: str = ""
    ) -> Response:
        page = pages.booking_form(
            link.slug,
            self._meeting_name(link.meeting_sid),
            slots(utc_now()),
            name=name,
            email=email,
            answers=answers,
            told=told,
        )
        return _html(page, status=422 if told else 200)

    def _meeting_name(self, sid: str) -> str:
        meeting = self._sandbox.state.meetings.get(sid)
        return meeting.name if meeting else sid


def _answers(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    prefix = forms.ANSWER_PREFIX
    return ((n.removeprefix(prefix), value) for n, value in pairs if n.startswith(prefix))


def _see(booking_sid: str) -> Response:
    """On to the booking's page, so that a reload does not send the form again."""
    return RedirectResponse(f"/bookings/{booking_sid}", status_code=303)


def _html(page: str, status: int = 200) -> Response:
    return HTMLResponse(
        page,
        status_code=status,
        headers={
            "content-security-policy": pages.CONTENT_SECURITY_POLICY,
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )
