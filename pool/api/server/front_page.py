"""Serve the page at the server's own address, with links to everything else."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from pool.api.demo.routes import demo_of
from pool.api.http.mount import url
from pool.api.http.pages import page
from pool.api.routes.access import TheService
from pool.errors import LinkpoolError

router = APIRouter(include_in_schema=False)

_PLACES = {
    "/demo": ("Demo", "a page of a made-up site that shows a visitor their own booking link"),
    "/ops": ("Operations", "every pool and what it needs; sign in with an admin key"),
    "/docs": ("API", "every call, with examples"),
    "/problems": ("Problems", "every error that the API answers, and what to do about it"),
}


@router.get("/")
async def front_page(service: TheService) -> HTMLResponse:
    """Return a page of links, with the demo where one is served."""
    hidden = set()
    try:
        await demo_of(service)
    except LinkpoolError:
        hidden = {"/demo"}
    links = "".join(
        f'<li><a href="{url(place)}">{name}</a>: {what}</li>'
        for place, (name, what) in _PLACES.items()
        if place not in hidden
    )
    return page(
        "One-off booking links",
        "<p>linkpool makes them ahead of time, and hands one to each visitor of your site in about "
        f"a millisecond.</p><ul>{links}</ul>",
    )
