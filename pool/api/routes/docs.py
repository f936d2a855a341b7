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
from pool.api.http.pages import page, prose
from pool.embeds.tag import Tag, tag_of

router = APIRouter(include_in_schema=False)

_REF = "#/components/schemas/"
_NAMES = {
    "sid": "intro",
    "customer_id": "order-4711",
    "slug": "one-off-c5530bc7c9ab",
    "workspace": "default",
    "public_key": "pk_5f0e8a3b9c1d2e4f60718293",
    "event_id": "9f2c41d8a7b04e6c8d1f3a5b7c9e0d2f",
}


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
        f"{prose(_first_line(schema.get('description')))}</summary>{_json(schema)}</details>"
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
        'crossorigin data-meeting="SID" data-token="TOKEN"></script>'
    )
    return (
        '<h2 id="tag">The tag</h2><p>For static and cached pages: '
        f"<code>{escape(url('/embed.js'))}</code>. Under "
        f"<code>{escape(url(tag.path))}</code> it never changes; a page may name it with its "
        f'<code>integrity</code>:</p><pre tabindex="0"><code>{escape(pinned)}</code></pre>'
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
        f"{prose(_first_line(operation.get('description')))}</summary>"
        + (f"<p>Parameters</p><ul>{parameters}</ul>" if parameters else "")
        + (f"<p>Body: {body}</p>" if body else "")
        + f"<p>Answers</p><ul>{answers}</ul>{_example(method, path, operation)}</details>"
    )


def _example(method: str, path: str, operation: dict[str, Any]) -> str:
    """Return a call as it is typed into a terminal, and its answer."""
    sent = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    command = f"curl -sS {'' if method == 'get' else f'-X {method.upper()} '}$API{_filled(path)}"
    if operation.get("security"):
        command += ' -H "X-API-Key: $KEY"'
    if "example" in sent:
        body = json.dumps(sent["example"], ensure_ascii=False)
        command += f" \\\n  -H 'Content-Type: application/json' -d '{body}'"
    answers = [
        answer["content"]["application/json"]["example"]
        for status, answer in operation.get("responses", {}).items()
        if status < "300" and "example" in answer.get("content", {}).get("application/json", {})
    ]
    answer = _json(answers[0]) if answers else ""
    return f'<p>Example</p><pre tabindex="0"><code>{escape(command)}</code></pre>{answer}'


def _filled(path: str) -> str:
    for name, value in _NAMES.items():
        path = path.replace(f"{{{name}}}", value)
    return path


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


def _json(value: Any) -> str:
    # What scrolls can be reached by keyboard.
    return f'<pre tabindex="0">{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>'


def _first_line(text: str | None) -> str:
    return (text or "").split("\n", 1)[0]
