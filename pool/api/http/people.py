"""Find the person whom a trusted proxy names in a header, and hide that header from other code.

A visitor can write the same header. So it counts only on a connection that comes from a trusted
proxy, only if it is there once, and only if it holds one name: a proxy that adds its own header
to a visitor's, or joins the two by a comma, has not said who is asking.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from pool.config.networks import TrustedProxies
from pool.config.proxy_people import ProxyPeople, Role

NAME_MOST_BYTES = 256
GROUPS_MOST_BYTES = 4_096
_KEY = "linkpool.person"


@dataclass(frozen=True, slots=True)
class Person:
    """The person whom a trusted proxy names; `role` is None for a person without one."""

    name: str
    role: Role | None
    problem: str = ""  # why the proxy's word does not count; the name is empty then


class People:
    """The people behind the trusted proxies."""

    def __init__(self, settings: ProxyPeople, proxies: TrustedProxies) -> None:
        self._settings = settings
        self._proxies = proxies
        self._hidden = {settings.header, settings.groups_header} - {None}

    def seen(self, scope: Scope, peer: str) -> Scope:
        """Return the request without the headers, and with the person they name, if they count.

        `peer` is the address that the connection comes from, whatever its headers claim.
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        said = [(name.lower(), value) for name, value in headers]
        hidden = [each for each in said if each[0] in self._hidden]
        if not hidden:
            return scope
        kept = [each for each in headers if each[0].lower() not in self._hidden]
        scope = {**scope, "headers": kept}
        if self._proxies.trusts(peer):
            scope[_KEY] = self._person(hidden)
        return scope

    def _person(self, said: list[tuple[bytes, bytes]]) -> Person | None:
        names = [value for name, value in said if name == self._settings.header]
        lists = [value for name, value in said if name == self._settings.groups_header]
        if not any(each.strip() for each in names):
            return None  # somebody whom the proxy has not signed in
        try:
            name = _only(names, NAME_MOST_BYTES)
            groups = _only(lists, GROUPS_MOST_BYTES) if lists else ""
        except ValueError as error:
            return Person("", None, str(error))
        if "," in name:
            return Person("", None, "it holds several names")
        among = [each.strip() for each in groups.split(",") if each.strip()]
        return Person(name, self._settings.role_of(name, among))


def person_of(scope: Scope) -> Person | None:
    """Return the person whom a trusted proxy named for this request, or None."""
    person: Person | None = scope.get(_KEY)
    return person


def _only(values: list[bytes], most_bytes: int) -> str:
    """Return the text of a header's only value. Raise ValueError saying what is wrong with it."""
    if len(values) > 1:
        raise ValueError("it came more than once")
    if len(values[0]) > most_bytes:
        raise ValueError("it is too long")
    try:
        text = values[0].decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not text.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return text
