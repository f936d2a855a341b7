"""Serve the pages for people: the index, a link's booking page, a booking's page."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox import booking_pages, forms, framed
from sandbox.clock import slots, utc_now
from sandbox.core import Sandbox
from sandbox.index_page import index_page
from sandbox.knobs import knob_facts
from sandbox.records import Link, Refused

RECENT = 12


class VisitorPages:
    """The HTML side of the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Return the routes, the page of a slug last, since it takes any path of one segment."""
        return [
            Route("/", self.index),
            *framed.routes(),
            Route("/_elsewhere", self.elsewhere, methods=["GET", "POST"]),
            Route("/bookings/{sid}", self.booking),
            Route("/bookings/{sid}/{act}", self.act, methods=["POST"]),
            Route("/{slug}", self.link),
            Route("/{slug}", self.book, methods=["POST"]),
        ]

    async def index(self, request: Request) -> Response:
        """Answer with all that exists, for a person who opens the sandbox's address."""
        sandbox = self._sandbox
        made = sandbox.counters.links_by_meeting
        knobs, facts = sandbox.knobs.as_dict(), knob_facts()
        return framed.html(
            request,
            index_page(
                subdomain=sandbox.config.subdomain,
                webhook_url=sandbox.config.webhook_url or "nobody (no --webhook-url was given)",
                meetings=[
                    (m.sid, m.name, self._what(m.sid), made[m.sid])
                    for m in islice(sandbox.state.meetings.values(), 100)
                ],
                links=[
                    (link, sandbox.rules.is_available(link.meeting_sid))
                    for link in islice(reversed(sandbox.state.links.values()), RECENT)
                ],
                bookings=[
                    (booking, sandbox.state.meeting_name(booking.meeting_sid))
                    for booking in islice(reversed(sandbox.state.bookings.values()), RECENT)
                ],
                deliveries=[
                    (d.event, d.booking_sid, d.state, d.last_error or str(d.last_status or ""))
                    for d in islice(reversed(sandbox.webhooks.log), RECENT)
                ],
                knobs=[(n, str(value), value != facts[n][0]) for n, value in knobs.items()],
            ),
        )

    async def elsewhere(self, _request: Request) -> Response:
        """Answer where p_redirect points to. A client that arrives here followed a redirect."""
        return PlainTextResponse("A client that respects its API key does not come here.\n")

    async def link(self, request: Request) -> Response:
        """Answer with the page of a slug: a form while it is unused, then "link expired"."""
        link = self._link(request)
        if (closed := self._closed(request, link)) is not None:
            return closed
        given = forms.answers(request.query_params.multi_items())
        name, email = given.pop("name", ""), given.pop("email", "")
        given.pop(framed.DYNAMIC_HEIGHT, None)
        return self._form(request, link, name=name, email=email, answers=given)

    async def book(self, request: Request) -> Response:
        """Handle the Book button. Every hidden field comes back as an answer to its field code."""
        link = self._link(request)
        pairs = await forms.form_pairs(request)
        if (closed := self._closed(request, link)) is not None:
            return closed
        form = dict(pairs)
        name = forms.text(form.get("name"), "name", "").strip()
        email = forms.text(form.get("email"), "email", "").strip()
        answers = forms.answers(_answers(pairs))
        starts_at = form.get("starts_at")
        problem = ""
        if not name or "@" not in email:
            problem = "Please fill in your name and your e-mail address."
        elif starts_at not in slots(utc_now()):
            problem = "Please pick one of these times."
        if problem or starts_at is None:
            return self._form(
                request, link, name=name, email=email, answers=answers, problem=problem
            )
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
        """Answer with the page of a booking: its state, and buttons for what can be done."""
        state = self._sandbox.state
        booking = state.booking(request.path_params["sid"])
        series = state.series_of(booking)
        return framed.html(
            request,
            booking_pages.booking_page(
                booking,
                state.meeting_name(booking.meeting_sid),
                series=series,
                others=any(each.stands for each in series if each.sid != booking.sid),
            ),
        )

    async def act(self, request: Request) -> Response:
        """Handle a button of a booking's page."""
        sandbox, sid = self._sandbox, request.path_params["sid"]
        match request.path_params["act"]:
            case "cancel":
                booking = sandbox.cancel(sid)
            case "cancel-series":
                booking = sandbox.cancel(sid, series=True)
            case "reschedule":
                booking = sandbox.reschedule(sid)
            case "confirm":
                booking = sandbox.confirm(sid)
            case "approve":
                booking = sandbox.approve(sid)
            case "reject":
                booking = sandbox.reject(sid)
            case _:
                raise Refused(404, "there is no such button")
        return _see(booking.sid)

    def _link(self, request: Request) -> Link:
        link = self._sandbox.state.links.get(request.path_params["slug"])
        if link is None:
            raise Refused(404, "there is no link of this slug")
        return link

    def _closed(self, request: Request, link: Link) -> Response | None:
        # 200, because it is a page for a person, not an error of the site that embeds it.
        name = self._sandbox.state.meeting_name(link.meeting_sid)
        if link.booking_sid is not None:
            return framed.html(request, booking_pages.expired(name))
        if not self._sandbox.rules.is_available(link.meeting_sid):
            return framed.html(request, booking_pages.not_available(name))
        return None

    def _form(
        self,
        request: Request,
        link: Link,
        *,
        name: str,
        email: str,
        answers: dict[str, str],
        problem: str = "",
    ) -> Response:
        sandbox, sid = self._sandbox, link.meeting_sid
        page = booking_pages.booking_form(
            link.slug,
            sandbox.state.meeting_name(sid),
            slots(utc_now()),
            name=name,
            email=email,
            answers=answers,
            kind=sandbox.rules.kind(sid),
            series_length=sandbox.knobs.series_length,
            problem=problem,
        )
        return framed.html(request, page, 422 if problem else 200)

    def _what(self, sid: str) -> str:
        """Return in words what a link and a booking form of this meeting make."""
        rules = self._sandbox.rules
        if rules.is_deleted(sid) or rules.is_disabled(sid):
            return "nothing: deleted" if rules.is_deleted(sid) else "nothing: disabled"
        if refusal := rules.refusal(sid):
            return f"nothing: refused ({refusal})"
        return rules.kind(sid)


def _answers(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    prefix = forms.ANSWER_PREFIX
    return ((n.removeprefix(prefix), value) for n, value in pairs if n.startswith(prefix))


def _see(booking_sid: str) -> Response:
    """Redirect to the booking's page, so that a reload does not send the form again."""
    return RedirectResponse(f"/bookings/{booking_sid}", status_code=303)
