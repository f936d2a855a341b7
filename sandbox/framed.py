"""Serve the embed script, and let pages in a frame of another site tell their height."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sandbox import pages

# The query parameter that the embed sends beside those that prefill the form.
DYNAMIC_HEIGHT = "dynamicHeight"

# An observer calls at once, and whenever the content grows or shrinks.
_SCRIPT = (
    "new ResizeObserver(()=>parent.postMessage({sandboxHeight:"
    "document.querySelector('main').getBoundingClientRect().height},'*'))"
    ".observe(document.querySelector('main'))"
)
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY_IN_FRAMES = f"{pages.CONTENT_SECURITY_POLICY}; script-src 'sha256-{_HASH}'"


def routes() -> list[Route]:
    """Return the route of the embed script."""
    return [Route("/javascript/embed.js", embed_script)]


async def embed_script(_request: Request) -> Response:
    """Answer with the stand-in for NeetoCal's embed script."""
    return Response(
        (files("sandbox") / "embed.js").read_bytes(),
        media_type="text/javascript; charset=utf-8",
        headers={
            "cache-control": "public, max-age=60",
            "cross-origin-resource-policy": "cross-origin",
            "x-content-type-options": "nosniff",
        },
    )


def html(request: Request, page: str, status: int = 200) -> Response:
    """Return a page; only where a browser shows it in a frame, it has a script, for its height."""
    policy = pages.CONTENT_SECURITY_POLICY
    if request.headers.get("sec-fetch-dest") == "iframe":
        page = page.replace("</body>", f"<script>{_SCRIPT}</script></body>")
        policy = _POLICY_IN_FRAMES
    return HTMLResponse(
        page,
        status_code=status,
        headers={
            "content-security-policy": policy,
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )
