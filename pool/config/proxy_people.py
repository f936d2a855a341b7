"""Read the header in which a reverse proxy names the person it signed in, and people's roles.

A role is given to a name, to a group, or to everybody whom the proxy lets in:
`ada@example.com=admin, group:on-call=operator, *=viewer`. The highest of several roles counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pool.config.networks import TrustedProxies, networks_of
from pool.errors import SettingsError

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")  # each may do what those before it may

GROUP, EVERYBODY = "group:", "*"
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
# These headers have other meanings, and anybody may send them.
_OTHERS = frozenset(
    (
        "accept", "authorization", "connection", "content-length", "content-type", "cookie",
        "forwarded", "host", "origin", "referer", "transfer-encoding", "user-agent", "x-api-key",
        "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id",
    )
)  # fmt: skip
_IDENTITY, _GROUPS, _ROLES, _PROXIES = (
    f"LINKPOOL_{name}"
    for name in ("PROXY_IDENTITY_HEADER", "PROXY_GROUPS_HEADER", "PROXY_ROLES", "TRUSTED_PROXIES")
)


@dataclass(frozen=True, slots=True)
class ProxyPeople:
    """The headers in which trusted proxies name a person, in lower case, and the roles."""

    header: bytes
    groups_header: bytes | None
    roles: Mapping[str, Role]  # by name, by GROUP and a group's name, or EVERYBODY

    def role_of(self, name: str, groups: Collection[str]) -> Role | None:
        """Return the highest role that this person has by name or group; None: no role."""
        fits = [EVERYBODY, *(GROUP + each for each in groups)]
        if not name.startswith(GROUP):  # a person may have a name that looks like a group
            fits.append(name)
        found = {self.roles[each] for each in fits if each in self.roles}
        return max(found, key=ROLES.index, default=None)


def proxy_people(
    header: str | None, groups: str | None, roles_text: str, proxies: str
) -> ProxyPeople | None:
    """Return the people behind proxies by the settings, or None if proxies name nobody.

    `proxies` is empty unless a setting names them. Raise SettingsError if the settings would let
    anybody in under any name, or nobody at all.
    """
    if not header:
        for name, value in ((_GROUPS, groups), (_ROLES, roles_text)):
            if value:
                raise SettingsError(name, f"is set, but {_IDENTITY} is not; set both or neither")
        return None
    for name, value in ((_IDENTITY, header), (_GROUPS, groups)):
        if value and (not _HEADER.fullmatch(value) or value.lower() in _OTHERS):
            raise SettingsError(
                name, "must be a header that only your proxy sets, such as X-Forwarded-User"
            )
    if groups and groups.lower() == header.lower():
        raise SettingsError(_GROUPS, f"names the same header as {_IDENTITY}")
    _check_proxies(proxies)
    if not roles_text:
        raise SettingsError(
            _ROLES, f"is missing: with {_IDENTITY} set it says who may do what, as ada=admin"
        )
    roles = roles_of(roles_text)
    if not groups and any(each.startswith(GROUP) for each in roles):
        raise SettingsError(_ROLES, f"names a group, so {_GROUPS} has to be set")
    return ProxyPeople(header.lower().encode(), groups.lower().encode() if groups else None, roles)


def roles_of(text: str) -> Mapping[str, Role]:
    """Return the role of each name and group in the setting PROXY_ROLES. Raise SettingsError."""
    roles: dict[str, Role] = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, equals, role = (each.strip() for each in entry.rpartition("="))
        if not equals or not name or name == GROUP or not name.isprintable():
            raise SettingsError(_ROLES, "must be names and roles, as ada=admin, group:sre=operator")
        if role not in ROLES:
            raise SettingsError(_ROLES, "has a role that is none of viewer, operator and admin")
        if name in roles:
            raise SettingsError(_ROLES, "gives one name two roles")
        roles[name] = role
    return MappingProxyType(roles)


def _check_proxies(text: str) -> None:
    """Raise SettingsError unless the proxies whose word counts were named."""
    if not text.strip():
        raise SettingsError(
            _IDENTITY, f"is set, so {_PROXIES} must name the proxies that sign people in"
        )
    if TrustedProxies(text).anybody or any(each.prefixlen == 0 for each in networks_of(text)):
        raise SettingsError(
            _IDENTITY, f"is set, so {_PROXIES} must not be everybody: anybody could be anybody"
        )
