"""Serve the tag: the script that sites put into their pages."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from pool.api.routes.access import TheService
from pool.embeds.tag import Tag, tag_of

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_SHORTLY = "public, max-age=300, stale-while-revalidate=86400"
_FOR_A_YEAR = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@router.get("/embed.js")
async def newest(request: Request, service: TheService) -> Response:
    """Serve the tag as it is now, for pages that are not to be changed with each release."""
    return _answer(request, tag_of(service.settings.workspaces), _SHORTLY)


@router.get("/embed/{digest}.js")
async def pinned(digest: str, request: Request, service: TheService) -> Response:
    """Serve the tag under the address of exactly its content, for pages that name `integrity`.

    An outdated address gets the current content, which is not cached: a page without `integrity`
    goes on working after an upgrade.
    """
    tag = tag_of(service.settings.workspaces)
    return _answer(request, tag, _FOR_A_YEAR if digest == tag.digest else "no-cache")


def _answer(request: Request, tag: Tag, cached: str) -> Response:
    zipped = _GZIP.search(request.headers.get("accept-encoding", "")) is not None
    headers = {
        # Each encoding is a representation of its own.
        "etag": f'"{tag.digest}{"-gzip" if zipped else ""}"',
        "cache-control": cached,
        "vary": "Accept-Encoding",
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }
    asked = request.headers.get("if-none-match", "")
    if headers["etag"] in [each.strip().removeprefix("W/") for each in asked.split(",")]:
        return Response(None, 304, headers)
    if zipped:
        headers["content-encoding"] = "gzip"
    body = tag.gzipped if zipped else tag.content
    return Response(body, 200, headers, "text/javascript; charset=utf-8")
