"""Serve /openapi.json, and /docs: the same as a page that needs no script and no other host.

Both are made once, off the event loop, because anybody may request them.
"""

from __future__ import annotations

import asyncio
import json
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from pool.api.http.mount import url
from pool.api.http.pages import page
from pool.embeds.tag import Tag, tag_of

router = APIRouter(include_in_schema=False)

_REF = "#/components/schemas/"


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the document that describes every call."""
    text, _ = await _made(request)
    return Response(text, media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return a page with every call, its parameters, bodies and answers."""
    return (await _made(request))[1]


async def _made(request: Request) -> tuple[bytes, HTMLResponse]:
    """Return the document's text and page; the first request makes them, later ones share them."""
    state = request.app.state
    making: asyncio.Future[tuple[bytes, HTMLResponse]] | None = getattr(state, "document", None)
    if making is None:
        making = asyncio.ensure_future(asyncio.to_thread(_make, request.app))
        state.document = making
    return await asyncio.shield(making)


def _make(app: FastAPI) -> tuple[bytes, HTMLResponse]:
    document = app.openapi()
    tag = tag_of(app.state.service.settings.workspaces)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return text, _page(document, tag)


def _page(document: dict[str, Any], tag: Tag) -> HTMLResponse:
    calls = "".join(
        _call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{escape(_first_line(schema.get('description')))}</summary>{_json(schema)}</details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    return page(
        "API",
        f"<p>Version {escape(document['info']['version'])}. Send an API key as "
        "<code>X-API-Key</code> or <code>Authorization: Bearer</code>. Errors are "
        f'<a href="{url("/problems")}">problem documents</a>. For tools: '
        f'<a href="{url("/openapi.json")}">openapi.json</a>.</p>{calls}<h2>Schemas</h2>{schemas}'
        f"{_tag(tag)}",
    )


def _tag(tag: Tag) -> str:
    pinned = (
        f'<script async src="https://links.example.com{url(tag.path)}" integrity="{tag.integrity}" '
        'crossorigin="anonymous" data-meeting="SID" data-token="TOKEN"></script>'
    )
    return (
        '<h2 id="tag">The tag</h2><p>For static and cached pages: '
        f"<code>{escape(url('/embed.js'))}</code>. Under "
        f"<code>{escape(url(tag.path))}</code> it never changes; a page may name it with its "
        f"<code>integrity</code>:</p><pre><code>{escape(pinned)}</code></pre>"
    )


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(each['name'])}</code> in {escape(each['in'])}"
        f"{'' if each.get('required') else ', optional'}: {_type(each.get('schema', {}))}</li>"
        for each in operation.get("parameters", [])
    )
    content = operation.get("requestBody", {}).get("content", {})
    body = "".join(_type(each.get("schema", {})) for each in content.values())
    answers = "".join(
        f"<li>{escape(status)} {escape(answer.get('description', ''))} "
        f"{''.join(_type(each.get('schema', {})) for each in answer.get('content', {}).values())}"
        "</li>"
        for status, answer in sorted(operation.get("responses", {}).items())
    )
    return (
        f"<details><summary><strong>{method.upper()}</strong> <code>{escape(path)}</code> — "
        f"{escape(_first_line(operation.get('description')))}</summary>"
        + (f"<p>Parameters</p><ul>{parameters}</ul>" if parameters else "")
        + (f"<p>Body: {body}</p>" if body else "")
        + f"<p>Answers</p><ul>{answers}</ul></details>"
    )


def _type(schema: dict[str, Any]) -> str:
    """Return a schema in a few words, linked to its full text if it has a name."""
    reference = schema.get("$ref", "")
    if reference.startswith(_REF):
        name = escape(reference.removeprefix(_REF))
        return f'<a href="#{name}"><code>{name}</code></a>'
    if choices := schema.get("anyOf"):
        return " or ".join(_type(each) for each in choices)
    if values := schema.get("enum"):
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in values)
    return f"<code>{escape(str(schema.get('type', 'any')))}</code>"


def _json(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"


def _first_line(text: str | None) -> str:
    return (text or "").split("\n", 1)[0]
