"""Who is signed in to the page: a signed cookie, and the tokens that go with it.

The cookie holds no API key: it is the key's id, an expiry and a random number, signed with the
secret key over these and the digest of the very key that opened the session. It is checked
against the key ring on every request, so it ends with that key, also where another key gets
the same id; and every API process accepts it until somebody signs out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from pool.access.api_keys import Caller, KeyRing, Scope
from pool.api.ops.endings import Endings
from pool.api.routes.access import TheService
from pool.errors import Forbidden, Unauthorized

COOKIE = "linkpool_ops"
PATH = "/ops"
SESSION_SECONDS = 12 * 3600
_HOST = "__Host-"  # browsers take such a cookie over https alone, and only from this very host


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in: whose key it was, and the token its forms carry."""

    caller: Caller
    csrf: str
    name: str = ""  # under which it can be ended

    @property
    def may_act(self) -> bool:
        """Whether actions are offered at all; each checks the scope and the meeting itself."""
        return Scope.ADMIN in self.caller.scopes

    def sees(self, sid: str) -> bool:
        """Whether this key may see the meeting."""
        return self.caller.meetings is None or sid in self.caller.meetings


class Sessions:
    """Opens sessions and recognises them; what is kept on the server is which have ended."""

    def __init__(
        self,
        keys: KeyRing,
        secret_key: bytes,
        endings: Endings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._secret = hashlib.sha256(b"linkpool ops\0" + secret_key).digest()
        self._endings = endings
        self._clock = clock

    def open(self, key: str, address: str = "") -> tuple[Caller, str]:
        """Whose key this is, and the cookie of a new session.

        Raises Unauthorized, or Forbidden if the key may not read, or not from this address.
        """
        caller = self._keys.authenticate(key.strip().encode())
        caller.check_address(address)
        caller.check(Scope.READ)
        expires_ms = round((self._clock() + SESSION_SECONDS) * 1000)
        signed = f"{caller.key_id}.{expires_ms}.{secrets.token_hex(16)}"
        return caller, f"{signed}.{self._signature(signed, caller.key_id)}"

    def find(self, cookie: str, address: str = "") -> Session:
        """The session of a cookie.

        Raises Unauthorized if it is missing, forged, old or was ended, or its key is gone, may
        no longer read, or not from this address.
        """
        signed, _, signature = cookie.rpartition(".")
        key_id = signed.partition(".")[0]
        if not hmac.compare_digest(signature.encode(), self._signature(signed, key_id).encode()):
            raise Unauthorized("you are not signed in, or the key you signed in with was revoked")
        _, expires_ms, number = signed.split(".")
        expires_at = int(expires_ms) / 1000
        caller = self._keys.caller(key_id)
        opened_at = expires_at - SESSION_SECONDS
        if expires_at < self._clock() or self._endings.ended(number, key_id, opened_at):
            raise Unauthorized("your sign-in has run out")
        if caller is None or not {Scope.READ, Scope.ADMIN} & caller.scopes:
            raise Unauthorized("the key you signed in with was revoked, or may no longer read")
        try:
            caller.check_address(address)
        except Forbidden as error:
            raise Unauthorized(str(error)) from None
        return Session(caller, self.sign("form", signed), number)

    async def end(self, session: Session) -> None:
        """End this session. Raises LedgerUnavailable; then it has ended in this process only."""
        await self._endings.end_session(session.name, self._clock(), SESSION_SECONDS)

    async def end_all(self, session: Session) -> None:
        """End all sessions that this session's key has opened. Raises as `end`."""
        key_id = session.caller.key_id
        await self._endings.end_key(key_id, self._clock(), SESSION_SECONDS)

    def sign(self, purpose: str, text: str) -> str:
        """A signature that only this service can make, good for one purpose."""
        message = f"{purpose}\0{text}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def _signature(self, signed: str, key_id: str) -> str:
        return self.sign("session", f"{signed}\0{self._keys.digest(key_id)}")


def sessions_of(request: Request) -> Sessions:
    """The sessions of this process."""
    sessions: Sessions = request.app.state.ops.sessions
    return sessions


def find_session(request: Request) -> Session:
    """Who asks, by the cookie. Raises Unauthorized."""
    return sessions_of(request).find(cookie_of(request, COOKIE), address_of(request))


def signed_in(sessions: Sessions, request: Request) -> bool:
    """Whether the request carries the cookie of a session."""
    cookie = cookie_of(request, COOKIE)
    try:
        return bool(cookie) and bool(sessions.find(cookie, address_of(request)))
    except Unauthorized:
        return False


async def session_of(request: Request, _service: TheService) -> Session:
    """Who asks. Raises Unauthorized."""
    return find_session(request)


def address_of(request: Request) -> str:
    """The visitor's address, as the outermost trusted proxy saw it."""
    return request.client.host if request.client else ""


def cookie_of(request: Request, name: str) -> str:
    """The value of one of our cookies; over https only one that https set counts."""
    return request.cookies.get(_named(request, name)[0], "")


def keep_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Sets a cookie that no script can read and no other site can make the browser send along
    with a form."""
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
    """Takes a cookie away."""
    name, path, secure = _named(request, name)
    response.delete_cookie(name, path=path, secure=secure, httponly=True, samesite="lax")


def _named(request: Request, name: str) -> tuple[str, str, bool]:
    """Name, path and Secure of a cookie; browsers want / for the path of a __Host- one."""
    secure = request.url.scheme == "https"
    return (_HOST + name, "/", True) if secure else (name, PATH, False)


def check_same_site(request: Request) -> None:
    """Raises Forbidden if the browser says that another site sent this form.

    Old browsers say so in Origin alone.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not ours:
        raise Forbidden("this form was sent by another site")


SignedIn = Annotated[Session, Depends(session_of)]
