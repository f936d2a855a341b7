"""Keep what was typed into a form that arrived when its sender was no longer signed in."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from fastapi import Request, Response

from pool.api.http.mount import place_of
from pool.api.ops.session.cookies import PATH
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import form_of
from pool.errors import InvalidRequest

SIGN_IN = "/ops/sign-in"
_ENDED = (
    "Nothing was done: you were not signed in any more. What you typed is kept; sign in, look at "
    "it, and send it again."
)
# Searches are posted so that no log records what is looked for; it must not be kept either.
_SEARCHES = ("/ops/find", "/ops/inbox", SIGN_IN)


def is_from_our_page(request: Request) -> bool:
    """Return True if the browser vouches that one of our own pages sent this form.

    Otherwise another site could fill in what somebody finds after signing in.
    """
    return request.headers.get("sec-fetch-site") == "same-origin"


async def ask_to_sign_in(request: Request, place: str) -> Response:
    """Return a redirect to the sign-in, which leads back to `place`, its form filled in again."""
    try:
        typed = {} if request.scope["path"] in _SEARCHES else (await form_of(request)).fields
    except InvalidRequest:
        typed = {}
    sign_in = SIGN_IN if place == PATH else f"{SIGN_IN}?next={quote(place)}"
    return failed(request, sign_in, _ENDED, typed)


def page_of_form(request: Request) -> str:
    """Return the page from which a form was sent, or the overview."""
    sent_from = urlsplit(request.headers.get("referer", ""))
    place = place_of(sent_from.path.encode()).decode(errors="replace")
    return place_or_overview(place + (f"?{sent_from.query}" if sent_from.query else ""))


def place_or_overview(place: str) -> str:
    """Return where a form leads back to: `place` if it is below /ops, else the overview."""
    plain = place.isascii() and place.isprintable() and "\\" not in place
    below = place == PATH or place.startswith((f"{PATH}/", f"{PATH}?"))
    return place if plain and below else PATH
