"""Find links by customer id, slug, booking or e-mail, and show what happened to them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Posted, check_csrf, form_of
from pool.api.ops.session.sessions import Session, SignedIn
from pool.api.routes.access import TheService
from pool.api.service import Service, replace_link
from pool.errors import UnknownClaim, UnknownLink
from pool.ledger.search import Found
from pool.model.links import CUSTOMER_ID_MAX_CHARACTERS
from pool.operations.timelines import Timeline, timelines

router = views()

_FOUND_AGAIN = 50  # links
TIMELINES_SHOWN = 5  # links whose timeline is shown at once; the others are listed


@router.get("/ops/find")
async def ask(
    request: Request,
    session: SignedIn,
    service: TheService,
    of: Annotated[str, Query(max_length=8_000)] = "",
) -> Response:
    """Show the search form, or again the links that somebody found and comes back to."""
    if not of:
        return _page(request, session)
    search = service.parts.ledger.search
    links = [await search.link(slug) for slug in of.split(",")[:_FOUND_AGAIN]]
    seen = [each for each in links if each and session.sees(each.link.meeting_sid)]
    if not seen:
        return _page(request, session)
    return await _shown(request, session, service, "", seen)


@router.post("/ops/find")
async def find(request: Request, session: SignedIn, service: TheService) -> Response:
    """Show the links that were found.

    The form is posted, though it changes nothing: a customer id must not be in an address, which
    proxies log and browsers remember.
    """
    form = await form_of(request)
    check_csrf(request, session, form)
    asked = form.text("asked", label="What to look for", max_characters=CUSTOMER_ID_MAX_CHARACTERS)
    if not asked:
        return _page(request, session)
    sids = [each.sid for each in service.known_meetings.all() if session.sees(each.sid)]
    found = await service.parts.ledger.search.links(asked, sids)
    return await _shown(request, session, service, asked, found)


@router.get("/ops/links/{slug}")
async def link(slug: str, request: Request, session: SignedIn, service: TheService) -> Response:
    """Show one link and its timeline."""
    timeline = await _known(service, session, slug)
    return render(request, "link.html", session, title="Link", timeline=timeline)


@router.post("/ops/links/{slug}/replace")
async def replace(slug: str, request: Request, action: Posted, service: TheService) -> Response:
    """Replace a link that expired at the provider, so that its customer gets another one."""
    timeline = await _known(service, action.session, slug)
    link = timeline.link
    action.caller.check(Scope.ADMIN, link.meeting_sid)

    async def work() -> str:
        if link.customer_id is None:
            raise UnknownClaim("no customer holds this link")
        found = await service.known_meetings.find(link.meeting_sid)
        done = await replace_link(
            service, found, link.customer_id, action.reason, action.caller.key_id, slug=slug
        )
        if not done.is_new:
            return "Nothing was done: this customer already holds another link."
        return "Replaced. The customer now has a fresh link; this one is retired."

    return await outcome(request, f"/ops/links/{slug}", work(), action.form)


async def _known(service: Service, session: Session, slug: str) -> Timeline:
    found = await service.parts.ledger.search.link(slug)
    if found is None:
        raise UnknownLink("linkpool has no link with this slug")
    session.caller.check(Scope.READ, found.link.meeting_sid)
    [timeline] = await timelines(service.parts.ledger, [found])
    return timeline


async def _shown(
    request: Request, session: Session, service: Service, asked: str, links: list[Found]
) -> Response:
    """Show links. Who follows one and comes back gets them by their slugs: a browser does not show
    the answer to a form again, and what was asked for must not be in an address.
    """
    slugs = ",".join(each.link.slug for each in links[:_FOUND_AGAIN])
    return _page(
        request,
        session,
        asked=asked,
        found=await timelines(service.parts.ledger, links[:TIMELINES_SHOWN]),
        more=links[TIMELINES_SHOWN:],
        again=f"/ops/find?of={quote(slugs)}" if links else "",
    )


def _page(request: Request, session: Session, **values: Any) -> Response:
    nothing: dict[str, Any] = {"asked": "", "found": None, "more": [], "again": ""}
    return render(request, "find.html", session, title="Find", **nothing | values)
