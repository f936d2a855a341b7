"""Serve the page's styles, scripts and icon, at addresses that change with their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath

from fastapi import APIRouter, Request, Response

from pool.api.http.mount import url
from pool.errors import Unknown

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_YEAR_SECONDS = 31_536_000

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is served."""

    content: bytes
    kind: str
    digest: str


def _read(file: Traversable) -> StaticFile:
    content = file.read_bytes()
    kind = _KINDS[PurePath(file.name).suffix]
    return StaticFile(content, kind, hashlib.sha256(content).hexdigest()[:16])


_FILES = {file.name: _read(file) for file in (files("pool.api.ops") / "static").iterdir()}


def static_url(name: str) -> str:
    """Return the address of the current content of a file."""
    return url(f"/ops/static/{_FILES[name].digest}/{name}")


@router.get("/ops/static/{digest}/{name}")
async def static_file(digest: str, name: str, request: Request) -> Response:
    """Serve a file. An outdated address gets the current content, which is not cached."""
    found = _FILES.get(name)
    if found is None:
        raise Unknown("there is no such file")
    same = digest == found.digest
    headers = {
        "etag": f'"{found.digest}"',
        "cache-control": f"public, max-age={_YEAR_SECONDS}, immutable" if same else "no-cache",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, 304, headers)
    return Response(found.content, 200, headers, found.kind)
