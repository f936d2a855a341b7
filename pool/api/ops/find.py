"""Find: from a customer id, slug, booking or e-mail to the link, and all that happened to it."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from pool.api.access import TheService
from pool.api.ops.forms import check_csrf, form_of
from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import Session, SignedIn
from pool.api.service import Service
from pool.errors import UnknownLink
from pool.keys import Scope
from pool.links import CUSTOMER_ID_MAX_CHARACTERS
from pool.timelines import Timeline, timelines

router = views()

TOLD_WHOLE = 5  # links whose timeline is shown at once; the others are led to


@router.get("/ops/find")
async def ask(request: Request, session: SignedIn) -> Response:
    """Asks what to look for."""
    return _page(request, session, asked="", found=None, more=[])


@router.post("/ops/find")
async def find(request: Request, session: SignedIn, service: TheService) -> Response:
    """Shows what was found.

    Posted, though it changes nothing: a customer id has no place in an address, which proxies
    log and browsers remember.
    """
    form = await form_of(request)
    check_csrf(request, session, form)
    asked = form.text("asked", label="What to look for", max_characters=CUSTOMER_ID_MAX_CHARACTERS)
    if not asked:
        return _page(request, session, asked="", found=None, more=[])
    ledger = service.parts.ledger
    sids = [each.sid for each in service.registry.all() if session.sees(each.sid)]
    links = await ledger.search.links(asked, sids)
    return _page(
        request,
        session,
        asked=asked,
        found=await timelines(ledger, links[:TOLD_WHOLE]),
        more=links[TOLD_WHOLE:],
    )


@router.get("/ops/links/{slug}")
async def link(slug: str, request: Request, session: SignedIn, service: TheService) -> Response:
    """One link and its timeline."""
    timeline = await _known(service, session, slug)
    return render(request, "link.html", session, title="Link", timeline=timeline)


async def _known(service: Service, session: Session, slug: str) -> Timeline:
    found = await service.parts.ledger.search.link(slug)
    if found is None:
        raise UnknownLink("linkpool made no link of this slug")
    session.caller.check(Scope.READ, found.link.meeting_sid)
    [timeline] = await timelines(service.parts.ledger, [found])
    return timeline


def _page(request: Request, session: Session, **values: Any) -> Response:
    return render(request, "find.html", session, title="Find", **values)
