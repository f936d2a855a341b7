"""Remember whether somebody wants the page light, dark, or as their system has it.

The choice travels in a cookie, so that the server draws the first frame in it: nothing flashes.
"""

from __future__ import annotations

from fastapi import Request, Response

from pool.api.ops.session.cookies import cookie_of, drop_cookie, keep_cookie

SYSTEM = "system"
THEMES = (SYSTEM, "light", "dark")
_COOKIE = "linkpool_ops_theme"
_KEPT_SECONDS = 365 * 86_400


def theme_of(request: Request) -> str:
    """Return the chosen theme; `system` unless a valid one was chosen."""
    chosen = cookie_of(request, _COOKIE)
    return chosen if chosen in THEMES else SYSTEM


def keep_theme(request: Request, response: Response, theme: str) -> None:
    """Remember a theme. `system` is what stands without a cookie."""
    if theme == SYSTEM:
        drop_cookie(request, response, _COOKIE)
    else:
        keep_cookie(request, response, _COOKIE, theme, _KEPT_SECONDS)
