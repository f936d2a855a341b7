"""Show the outcome of an action once, on the page that follows it.

The message travels in a signed cookie, so nobody else can put text on the page, and any API
process can show it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Literal

import msgspec
from fastapi import Request, Response

from pool.api.http.mount import redirect_to
from pool.api.ops.sessions import cookie_of, drop_cookie, keep_cookie, sessions_of

_COOKIE = "linkpool_ops_flash"
_KEPT_SECONDS = 60
_TEXT_MAX_CHARACTERS = 1_000  # a cookie holds 4 KiB
_BAD = (ValueError, binascii.Error, msgspec.MsgspecError)


class Flash(msgspec.Struct, frozen=True):
    """One message for the operator. It never contains a secret."""

    kind: Literal["done", "failed"]
    text: str


def done(request: Request, place: str, text: str) -> Response:
    """Return a redirect to `place`, which shows that the action succeeded."""
    return _redirect(request, place, Flash("done", text))


def failed(request: Request, place: str, text: str) -> Response:
    """Return a redirect to `place`, which shows that the action failed, and why."""
    return _redirect(request, place, Flash("failed", text))


def flash_of(request: Request) -> Flash | None:
    """Return the flash message in the request's cookie, None if it is not signed by us."""
    text, _, signature = cookie_of(request, _COOKIE).partition(".")
    expected = sessions_of(request).sign("flash", text)
    if not text or not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Flash)
    except _BAD:
        return None


def forget_flash(request: Request, response: Response) -> None:
    """Remove the cookie, so that the message is shown once."""
    drop_cookie(request, response, _COOKIE)


def _redirect(request: Request, place: str, flash: Flash) -> Response:
    short = Flash(flash.kind, flash.text[:_TEXT_MAX_CHARACTERS])
    text = base64.urlsafe_b64encode(msgspec.json.encode(short)).decode()
    response = redirect_to(place)
    signature = sessions_of(request).sign("flash", text)
    keep_cookie(request, response, _COOKIE, f"{text}.{signature}", _KEPT_SECONDS)
    return response
