"""Read, set and delete the cookies of the page."""

from __future__ import annotations

import re

from fastapi import Request, Response

from pool.api.http.mount import url

PATH = "/ops"
_HOST = "__Host-"  # browsers accept such a cookie only over https, and only from this host
_SECURE = "__Secure-"  # only over https


def cookie_of(request: Request, name: str) -> str:
    """Return the value of one of our cookies. Over https, only a cookie set by https counts.

    Other cookies are not parsed: a head may hold thousands of them, and anybody may send it.
    """
    ours = re.escape(_named(request, name)[0])
    found = re.findall(rf"(?:^|;)[ \t]*{ours}=([^;]*)", request.headers.get("cookie", ""))
    return found[-1].strip(' \t"') if found else ""  # quoted when it was set, if it has a "="


def keep_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read and browsers do not send with other sites' forms."""
    name, path, secure = _named(request, name)
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        httponly=True,
        # Not strict: a link from an alert should lead to the page, not to its sign-in.
        samesite="lax",
        secure=secure,
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    """Delete a cookie."""
    name, path, secure = _named(request, name)
    response.delete_cookie(name, path=path, secure=secure, httponly=True, samesite="lax")


def _named(request: Request, name: str) -> tuple[str, str, bool]:
    """Return name, path and Secure of a cookie. Browsers require the path / for __Host-.

    Below a prefix the host is shared with others, whose pages should not be sent the cookie.
    """
    here = url(PATH)
    if request.url.scheme != "https":
        return name, here, False
    return (_HOST + name, "/", True) if here == PATH else (_SECURE + name, here, True)
