"""Render templates, with the headers that every page of /ops is sent with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pool.api.http.mount import url
from pool.api.ops.charts import figures
from pool.api.ops.frame.navigation import address_again, places_for
from pool.api.ops.frame.static_files import static_url
from pool.api.ops.frame.themes import THEMES, theme_of
from pool.api.ops.session.flash import CSRF_FIELD, flash_of, forget_flash
from pool.api.ops.session.sessions import Session
from pool.model import durations, outcomes
from pool.model.times import from_ms
from pool.operations import explain, glossary, incident_words, words

_TICKED = re.compile("`([^`]+)`")
# Only our own files; no inline script or style, even if one were injected into the page.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ICONS = {"ok": "icon.svg", "unknown": "icon.svg", "low": "icon_low.svg", "bad": "icon_bad.svg"}
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def ticked(text: str) -> Markup:
    """Return escaped HTML in which texts between backticks, such as commands, are code."""
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
        clock=words.clock_words,
        cost=incident_words.cost_words,
        incident_title=incident_words.title_of,
        lasted=incident_words.lasted_words,
        at_least=words.at_least_words,
        count=words.count_words,
        duration=words.duration_words,
        from_ms=from_ms,
        moment=words.moment_words,
        rate=words.rate_words,
        range=words.range_words,
        runway=words.runway_words,
        scopes=words.scope_words,
        ticked=ticked,
    )
    environment.globals.update(
        bar_of=figures.bar,
        sparkline_of=figures.sparkline,
        static_url=static_url,
        url=url,
        csrf_field=CSRF_FIELD,
        glossary=glossary.WORDS,
        pool_states=glossary.STATES,
        duration_examples=durations.EXAMPLES,
        icons=ICONS,
        themes=THEMES,
        incident_titles=incident_words.TITLES,
        advice=explain.ADVICE,
        outcome_words=outcomes.WORDS,
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
    """Return a page in the frame. `session` is None on pages that need no sign-in."""
    flash = flash_of(request)
    frame = request.app.state.ops.frame(session) if session else None
    places = places_for(session, request.url.path)
    # What a view may give another value.
    usual = {
        "frame": frame,
        "alarm": frame.alarm if frame else None,
        "stream": "/ops/stream",
        "own_live": False,
    }
    html = _templates.get_template(template).render(
        title=title,
        session=session,
        csrf=session.csrf if session else "",
        flash=flash,
        # Shown in the section that it is about, unless an error's page has come in its place.
        flash_on_top=flash if flash and (not flash.where or status >= 400) else None,
        typed_into=flash.typed_into if flash else lambda _path: {},
        places=places,
        theme=theme_of(request),
        here=address_again(request, places),
        now=datetime.now(UTC),
        now_ms=round(datetime.now(UTC).timestamp() * 1000),
        **usual | values,
    )
    response = HTMLResponse(html, status, HEADERS)
    if flash is not None and session is not None and status < 400:
        forget_flash(request, response)  # a page in between, such as the sign-in, keeps it
    return response


def fragment(template: str, **values: Any) -> str:
    """Return a part of a page, as the overview's stream sends it."""
    return _templates.get_template(template).render(**values)
