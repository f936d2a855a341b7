"""Show the outcome of an action once, on the page that follows it.

The message travels in a signed cookie, so nobody else can put text on the page, and any API
process can show it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Literal

import msgspec
from fastapi import Request, Response

from pool.api.http.mount import redirect_to
from pool.api.ops.session.cookies import cookie_of, drop_cookie, keep_cookie
from pool.api.ops.session.sessions import sessions_of

_COOKIE = "linkpool_ops_flash"
_KEPT_SECONDS = 600  # people sign in meanwhile, or wait for a part that does not answer
_TEXT_MAX_BYTES = 2_000  # a cookie holds 4 KiB, of which base64 leaves 3
_BOTH_MAX_BYTES = 2_500
_TYPED_MAX_BYTES = 2_000
CSRF_FIELD = "csrf"
_BAD = (ValueError, binascii.Error, msgspec.MsgspecError)


class Flash(msgspec.Struct, frozen=True):
    """One message for the operator. It never contains a secret."""

    kind: Literal["done", "failed"]
    text: str
    where: str = ""  # the section of the page that it is about; empty: the page
    typed: dict[str, str] = {}  # what was typed into the form that failed
    form: str = ""  # the path to which that form was posted

    def typed_into(self, path: str) -> dict[str, str]:
        """Return what was typed into the form that posts to this path, if it failed."""
        return self.typed if self.kind == "failed" and self.form == path else {}


def done(request: Request, place: str, text: str) -> Response:
    """Return a redirect to `place`, which shows that the action succeeded."""
    return _redirect(request, place, Flash("done", text))


def failed(
    request: Request, place: str, text: str, typed: Mapping[str, str] | None = None
) -> Response:
    """Return a redirect to `place`, which shows that the action failed, and why.

    `typed` is what the form held: it is filled in again, unless it is too much for a cookie.
    """
    kept = {name: value for name, value in (typed or {}).items() if name != CSRF_FIELD}
    if len(msgspec.json.encode(kept)) > _TYPED_MAX_BYTES:
        kept = {}
    path = str(request.scope["path"])
    return _redirect(request, place, Flash("failed", text, "", kept, path))


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
    where = place.partition("#")[2]
    typed_bytes = len(msgspec.json.encode(flash.typed))
    most = min(_TEXT_MAX_BYTES, _BOTH_MAX_BYTES - typed_bytes)
    said = flash.text.encode()
    text_of = flash.text if len(said) <= most else said[:most].decode(errors="ignore") + "…"
    short = Flash(flash.kind, text_of, where, flash.typed, flash.form)
    text = base64.urlsafe_b64encode(msgspec.json.encode(short)).decode()
    response = redirect_to(place)
    signature = sessions_of(request).sign("flash", text)
    keep_cookie(request, response, _COOKIE, f"{text}.{signature}", _KEPT_SECONDS)
    return response
