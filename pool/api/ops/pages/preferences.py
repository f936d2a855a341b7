"""Change how the page looks for one browser."""

from __future__ import annotations

from fastapi import Request, Response

from pool.api.http.mount import redirect_to
from pool.api.ops.frame.routing import views
from pool.api.ops.frame.sending_again import place_or_overview
from pool.api.ops.frame.themes import THEMES, keep_theme
from pool.api.ops.session.forms import check_csrf, form_of
from pool.api.ops.session.sessions import SignedIn

router = views()


@router.post("/ops/theme")
async def theme(request: Request, session: SignedIn) -> Response:
    """Remember the chosen theme, and show the same page in it. Ignore unknown themes."""
    form = await form_of(request)
    check_csrf(request, session, form)
    response = redirect_to(place_or_overview(form.fields.get("next", "")))
    chosen = form.fields.get("theme", "")
    if chosen in THEMES:
        keep_theme(request, response, chosen)
    return response
