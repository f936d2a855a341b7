"""Who is signed in to the page: a signed cookie, and the tokens that go with it.

The cookie holds no API key: it is the key's id, an expiry and a random number, signed with the
secret key. It is checked against the key ring on every request, so a revoked key signs out by
itself, and every API process accepts it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from pool.api.access import TheService
from pool.errors import Forbidden, Unauthorized
from pool.keys import Caller, KeyRing, Scope

COOKIE = "linkpool_ops"
PATH = "/ops"
SESSION_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in: whose key it was, and the token its forms carry."""

    caller: Caller
    csrf: str

    @property
    def may_act(self) -> bool:
        """Whether actions are offered at all; each checks the scope and the meeting itself."""
        return Scope.ADMIN in self.caller.scopes

    def sees(self, sid: str) -> bool:
        """Whether this key may see the meeting."""
        return self.caller.meetings is None or sid in self.caller.meetings


class Sessions:
    """Opens sessions and recognises them; nothing is kept on the server."""

    def __init__(
        self, keys: KeyRing, secret_key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._secret = hashlib.sha256(b"linkpool ops\0" + secret_key).digest()
        self._clock = clock

    def open(self, key: str) -> tuple[Caller, str]:
        """Whose key this is, and the cookie of a new session.

        Raises Unauthorized, or Forbidden if the key may not read.
        """
        caller = self._keys.authenticate(key.strip().encode())
        caller.check(Scope.READ)
        expires = int(self._clock()) + SESSION_SECONDS
        signed = f"{caller.key_id}.{expires}.{secrets.token_hex(16)}"
        return caller, f"{signed}.{self.sign('session', signed)}"

    def find(self, cookie: str) -> Session:
        """The session of a cookie.

        Raises Unauthorized if it is missing, forged or old, or its key is revoked or may no
        longer read.
        """
        signed, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self.sign("session", signed).encode()):
            raise Unauthorized("you are not signed in")
        key_id, expires, _ = signed.split(".")
        if int(expires) < self._clock():
            raise Unauthorized("your sign-in has run out")
        caller = self._keys.caller(key_id)
        if caller is None or not {Scope.READ, Scope.ADMIN} & caller.scopes:
            raise Unauthorized("the key you signed in with was revoked, or may no longer read")
        return Session(caller, self.sign("form", signed))

    def sign(self, purpose: str, text: str) -> str:
        """A signature that only this service can make, good for one purpose."""
        message = f"{purpose}\0{text}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def sessions_of(request: Request) -> Sessions:
    """The sessions of this process."""
    sessions: Sessions = request.app.state.ops.sessions
    return sessions


async def session_of(request: Request, _service: TheService) -> Session:
    """Who asks. Raises Unauthorized."""
    return sessions_of(request).find(request.cookies.get(COOKIE, ""))


def keep_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Sets a cookie that no script can read and no other site can make the browser send along
    with a form."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=PATH,
        httponly=True,
        # Not strict: a link from an alert should lead to the page, not to its sign-in.
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def check_same_site(request: Request) -> None:
    """Raises Forbidden if the browser says that another site sent this form."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("this form was sent by another site")


SignedIn = Annotated[Session, Depends(session_of)]
