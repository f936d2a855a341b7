"""Templates, and the headers that every page of /ops is sent with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pool.api.ops import figures
from pool.api.ops.flash import flash_of, forget_notice
from pool.api.ops.forms import CSRF_FIELD
from pool.api.ops.navigation import places_for
from pool.api.ops.sessions import Session
from pool.api.ops.static_files import static_url
from pool.operations import words

_TICKED = re.compile("`([^`]+)`")
# Nothing but our own files, and no script or style within the page, whatever gets into it.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def ticked(text: str) -> Markup:
    """Text in which `commands` stand between backticks, as linkpool's messages have them."""
    safe = str(escape(text))
    return Markup(_TICKED.sub(r"<code>\1</code>", safe))  # noqa: S704 - escaped above


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pool.api.ops"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=words.ago_words,
        count=words.count_words,
        duration=words.duration_words,
        from_ms=words.from_ms,
        moment=words.moment_words,
        rate=words.rate_words,
        range=words.range_words,
        runway=words.runway_words,
        ticked=ticked,
    )
    environment.globals.update(
        bar_of=figures.bar,
        sparkline_of=figures.sparkline,
        static_url=static_url,
        csrf_field=CSRF_FIELD,
    )
    return environment


_templates = _environment()


def render(
    request: Request,
    template: str,
    session: Session | None,
    *,
    title: str,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """A page in the frame; `session` is None where nobody need be signed in."""
    notice = flash_of(request)
    html = _templates.get_template(template).render(
        title=title,
        session=session,
        csrf=session.csrf if session else "",
        notice=notice,
        places=places_for(session, request.url.path),
        now=datetime.now(UTC),
        **values,
    )
    response = HTMLResponse(html, status, HEADERS)
    if notice is not None:
        forget_notice(request, response)
    return response


def fragment(template: str, **values: Any) -> str:
    """A part of a page, as the overview's stream sends it."""
    return _templates.get_template(template).render(**values)
