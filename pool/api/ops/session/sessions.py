"""Sign in to the page by a signed cookie or a proxy's word, and issue the tokens of its forms.

The cookie holds no API key, but the key's id, an expiry and a random number. The secret key signs
these together with the digest of the key that opened the session. The cookie is checked against
the key ring on every request, so the session ends with its key, even if another key gets the same
id. Every API process accepts the cookie until the session is signed out.

A person whom a trusted proxy names needs no cookie: each request names the person, whose role is
looked up each time. Their forms carry a token like all others, since a browser sends the proxy's
sign-in along with forms of other sites, too.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from pool.access.api_keys import Caller, KeyRing, Scope
from pool.api.http.messages import address_of
from pool.api.http.people import Person, person_of
from pool.api.ops.session.cookies import cookie_of
from pool.api.ops.session.endings import Endings
from pool.api.routes.access import TheService
from pool.config.proxy_people import Role
from pool.errors import Forbidden, Unauthorized

COOKIE = "linkpool_ops"
SESSION_SECONDS = 12 * 3600
BY_PROXY = "proxy:"  # before a person's name in the audit log: no key's id begins with it
_SCOPES: dict[Role, Scope] = {
    "viewer": Scope.READ,
    "operator": Scope.ADMIN,  # but for keys, see Session.check_keys
    "admin": Scope.ADMIN,
}


@dataclass(frozen=True, slots=True)
class NamedCaller(Caller):
    """A person whom a trusted proxy signed in."""

    role: Role = "viewer"

    def check(self, scope: Scope, sid: str | None = None) -> None:
        """Raise Forbidden unless this person's role has the scope."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Forbidden(f"your role is {self.role}, which may not do this")
        Caller.check(self, scope, sid)


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in: the key's owner or a person, and the token that its forms carry."""

    caller: Caller
    csrf: str
    name: str = ""  # for ending the session; empty: a proxy signed this person in

    @property
    def may_act(self) -> bool:
        """Return True if actions are shown. Each action checks the scope and meeting itself."""
        return Scope.ADMIN in self.caller.scopes

    @property
    def may_do_keys(self) -> bool:
        """Return True if keys are shown and made: for admins, but not for operators."""
        return self.may_act and self.role != "operator"

    @property
    def role(self) -> Role | None:
        """Return the role of a person whom a proxy signed in, None for the owner of a key."""
        return self.caller.role if isinstance(self.caller, NamedCaller) else None

    @property
    def shown_as(self) -> str:
        """Return the person's name, or the id of the key."""
        return self.caller.key_id.removeprefix(BY_PROXY)

    def check_keys(self) -> None:
        """Raise Forbidden if this person may act, but not make or revoke keys."""
        if self.role == "operator":
            raise Forbidden("your role is operator; keys are made and revoked by admins")

    def sees(self, sid: str) -> bool:
        """Return True if this key may see the meeting."""
        return self.caller.meetings is None or sid in self.caller.meetings


class Sessions:
    """Opens and recognises sessions. The server stores only which sessions have ended."""

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
        """Open a session. Return the key's owner and the cookie.

        Raise Unauthorized, or Forbidden if the key may not read, or not from this address.
        """
        caller = self._keys.authenticate(key.strip().encode())
        caller.check_address(address)
        caller.check(Scope.READ)
        expires_ms = round((self._clock() + SESSION_SECONDS) * 1000)
        signed = f"{caller.key_id}.{expires_ms}.{secrets.token_hex(16)}"
        return caller, f"{signed}.{self._signature(signed, caller.key_id)}"

    def find(self, cookie: str, address: str = "") -> Session:
        """Return the session of a cookie.

        Raise Unauthorized if the cookie is missing, forged, expired or ended, or if its key was
        revoked, may no longer read, or may not be used from this address.
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
            raise Unauthorized("your session has expired or was signed out")
        if caller is None or not {Scope.READ, Scope.ADMIN} & caller.scopes:
            raise Unauthorized("the key you signed in with was revoked, or may no longer read")
        try:
            caller.check_address(address)
        except Forbidden as error:
            raise Unauthorized(str(error)) from None
        return Session(caller, self.sign("form", signed), number)

    def of_person(self, person: Person) -> Session:
        """Return the session of a person whom a trusted proxy names.

        Raise Unauthorized if the proxy's word does not count, or the person has no role.
        """
        if person.problem:
            raise Unauthorized(f"the proxy's identity header does not count: {person.problem}")
        if person.role is None:
            raise Unauthorized(f"{person.name} has no role here; an admin can give one")
        actor = BY_PROXY + person.name
        scopes = frozenset({_SCOPES[person.role].value})
        caller = NamedCaller(actor, scopes, None, role=person.role)
        return Session(caller, self.sign("form", f"person\0{person.name}"))

    async def end(self, session: Session) -> None:
        """End this session. Raise LedgerUnavailable if it has ended in this process only."""
        await self._endings.end_session(session.name, self._clock(), SESSION_SECONDS)

    async def end_all(self, session: Session) -> None:
        """End all sessions that this session's key has opened. Raise as `end`."""
        key_id = session.caller.key_id
        await self._endings.end_key(key_id, self._clock(), SESSION_SECONDS)

    def sign(self, purpose: str, text: str) -> str:
        """Return a signature that only this service can make, valid for one purpose."""
        message = f"{purpose}\0{text}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def _signature(self, signed: str, key_id: str) -> str:
        return self.sign("session", f"{signed}\0{self._keys.digest(key_id)}")


def sessions_of(request: Request) -> Sessions:
    """Return the sessions of this process."""
    sessions: Sessions = request.app.state.ops.sessions
    return sessions


def find_session(request: Request) -> Session:
    """Return the session of the person whom a proxy names, or of the cookie. Raise Unauthorized."""
    return _found(sessions_of(request), request)


def signed_in(sessions: Sessions, request: Request) -> bool:
    """Return True if a proxy names a person with a role, or the cookie is of a valid session."""
    try:
        return bool(_found(sessions, request))
    except Unauthorized:
        return False


def _found(sessions: Sessions, request: Request) -> Session:
    person = person_of(request.scope)
    if person is not None and person.role is not None:
        return sessions.of_person(person)
    cookie = cookie_of(request, COOKIE)
    if person is not None and not cookie:
        return sessions.of_person(person)  # raises the reason
    return sessions.find(cookie, address_of(request))


async def session_of(request: Request, _service: TheService) -> Session:
    """Return the session of the request. Raise Unauthorized."""
    return find_session(request)


SignedIn = Annotated[Session, Depends(session_of)]
