"""What an action came to, said once on the page that follows it.

It travels in a signed cookie, so that nobody else can put words on the page and any API
process may show it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Literal

import msgspec
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pool.api.ops.sessions import cookie_of, drop_cookie, keep_cookie, sessions_of

_COOKIE = "linkpool_ops_notice"
_KEPT_SECONDS = 60
_TEXT_MAX_CHARACTERS = 1_000  # a cookie holds 4 KiB
_BAD = (ValueError, binascii.Error, msgspec.MsgspecError)


class Flash(msgspec.Struct, frozen=True):
    """One sentence for the operator; never holds a secret."""

    kind: Literal["done", "failed"]
    text: str


def done(request: Request, url: str, text: str) -> Response:
    """Leads to `url`, where it is said that the action succeeded."""
    return _leading(request, url, Flash("done", text))


def failed(request: Request, url: str, text: str) -> Response:
    """Leads to `url`, where it is said that the action failed, and why."""
    return _leading(request, url, Flash("failed", text))


def flash_of(request: Request) -> Flash | None:
    """The notice that the request carries, if it is one of ours."""
    text, _, signature = cookie_of(request, _COOKIE).partition(".")
    expected = sessions_of(request).sign("notice", text)
    if not text or not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Flash)
    except _BAD:
        return None


def forget_notice(request: Request, response: Response) -> None:
    """Takes care that it is said once."""
    drop_cookie(request, response, _COOKIE)


def _leading(request: Request, url: str, notice: Flash) -> Response:
    short = Flash(notice.kind, notice.text[:_TEXT_MAX_CHARACTERS])
    text = base64.urlsafe_b64encode(msgspec.json.encode(short)).decode()
    response = RedirectResponse(url, 303)
    signature = sessions_of(request).sign("notice", text)
    keep_cookie(request, response, _COOKIE, f"{text}.{signature}", _KEPT_SECONDS)
    return response
