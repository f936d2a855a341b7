"""Serve the demo page, the pool's level for it, and its links for browsers without JavaScript."""

from __future__ import annotations

import re
import secrets
from html import escape
from importlib.resources import files
from string import Template
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from pool.access.tokens import TokenClaims
from pool.api.http.mount import redirect_to, url
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.config.settings import Workspace
from pool.errors import Unknown
from pool.model.meetings import Meeting
from pool.operations.status import MeetingStatus, statuses

COOKIE = "linkpool_demo"
_PATH = "/demo"
_TOKEN_SECONDS = 3_600
_COOKIE_SECONDS = 7 * 86_400
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_KINDS = {
    "demo.css": "text/css; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FILES = files("pool.api.demo") / "static"
_page = Template((_FILES / "demo.html").read_text("utf-8"))
_static = {name: (_FILES / name).read_bytes() for name in _KINDS}


class Demo:
    """The demo's meeting, and the service that it belongs to."""

    def __init__(self, service: Service, meeting: Meeting, workspace: Workspace) -> None:
        self.service = service
        self.meeting = meeting
        self.workspace = workspace

    async def status(self) -> MeetingStatus:
        """Return the pool's status. Raise StoreUnavailable or LedgerUnavailable."""
        parts = self.service.parts
        return (await statuses(parts.store, parts.ledger, [self.meeting]))[0]

    def token(self, customer_id: str) -> str:
        """Return a token for this visitor, as a site's backend signs it."""
        caller = self.service.keys.caller("admin")
        if caller is None:
            raise Unknown("the demo needs LINKPOOL_ADMIN_KEY, which `linkpool up` sets")
        claims = TokenClaims(self.meeting.sid, customer_id)
        return self.service.tokens.sign(caller, claims, _TOKEN_SECONDS)[0]


async def demo_of(service: TheService) -> Demo:
    """Return the demo. Raise Unknown where `linkpool up` does not run it on a sandbox.

    Anybody who opens the page gets a link, so it is never served with a real provider.
    """
    sid = service.settings.demo_meeting
    meeting = await service.known_meetings.find(sid) if sid else None
    workspace = service.settings.workspace(meeting.workspace) if meeting else None
    if (
        meeting is None
        or workspace is None
        or urlsplit(workspace.api_url).hostname not in _LOOPBACK
    ):
        raise Unknown("the demo page is there where `linkpool up` runs the sandbox")
    return Demo(service, meeting, workspace)


TheDemo = Annotated[Demo, Depends(demo_of)]

router = APIRouter(include_in_schema=False)


@router.get("/demo")
async def page(request: Request, demo: TheDemo) -> Response:
    """Return the landing page with a token for this visitor, who is known by a cookie."""
    customer = _customer(request) or _new_customer()
    status = await demo.status()
    facts: dict[str, object] = {
        "root": url(""),
        "meeting": demo.meeting.sid,
        "token": demo.token(customer),
        "customer": customer,
        **_level(status),
    }
    html = _page.substitute({name: escape(str(value)) for name, value in facts.items()})
    response = HTMLResponse(html, headers=_headers(demo.workspace))
    _remember(response, customer)
    return response


@router.get("/demo/pool")
async def level(demo: TheDemo) -> dict[str, object]:
    """Return the pool's level."""
    return _level(await demo.status())


@router.post("/demo/visitor")
async def become_somebody_new(_demo: TheDemo) -> Response:
    """Make this browser another visitor."""
    response = redirect_to(_PATH)
    _remember(response, _new_customer())
    return response


@router.post("/demo/link")
async def link(request: Request, demo: TheDemo) -> Response:
    """Claim for this visitor and redirect to their link, where no script can."""
    customer = _customer(request) or _new_customer()
    receipt = await demo.service.desk.claim(demo.meeting.sid, customer)
    response = RedirectResponse(f"{demo.workspace.link_url}/{receipt.claim.slug}", 303)
    _remember(response, customer)
    return response


@router.get("/demo/static/{name}")
async def static_file(name: str, _demo: TheDemo) -> Response:
    """Serve the page's styles, script and icon."""
    if name not in _static:
        raise Unknown("there is no such file")
    return Response(_static[name], 200, {"cache-control": "no-cache"}, _KINDS[name])


def _level(status: MeetingStatus) -> dict[str, object]:
    shown = ("fresh", "target", "claimed", "consumed", "state")
    return {name: getattr(status, name) for name in shown}


def _customer(request: Request) -> str | None:
    found = request.cookies.get(COOKIE, "")
    return found if re.fullmatch(r"visitor-[0-9a-f]{12}", found) else None


def _new_customer() -> str:
    return f"visitor-{secrets.token_hex(6)}"


def _remember(response: Response, customer: str) -> None:
    response.set_cookie(
        COOKIE, customer, max_age=_COOKIE_SECONDS, path=url(_PATH), httponly=True, samesite="lax"
    )


def _headers(workspace: Workspace) -> dict[str, str]:
    """Return the policy that a careful site would send, and no more than the tag needs."""
    script, link = (urlsplit(url) for url in (workspace.embed_script_url, workspace.link_url))
    provider = f"{link.scheme}://{link.netloc}"
    return {
        "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
        f"script-src 'self' {script.scheme}://{script.netloc}; connect-src 'self'; "
        f"frame-src {provider}; form-action 'self' {provider}; "
        "frame-ancestors 'none'; base-uri 'none'",
        "cache-control": "no-cache",  # not no-store: it may wait in the back/forward cache
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
