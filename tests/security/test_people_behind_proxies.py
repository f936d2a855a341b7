"""Nobody becomes somebody else by a header: only a trusted proxy names people, and only clearly."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from pool.api.http.people import NAME_MOST_BYTES, People, person_of
from pool.config.networks import TrustedProxies
from pool.config.proxy_people import ProxyPeople, roles_of
from pool.config.settings import Settings
from pool.errors import SettingsError

PROXY, STRANGER = "10.0.0.7", "192.0.2.1"
PEOPLE = People(
    ProxyPeople(
        b"x-forwarded-user",
        b"x-forwarded-groups",
        roles_of("ada@x.test=admin, group:on-call=operator, group:all=viewer, zoë=viewer"),
    ),
    TrustedProxies("10.0.0.0/8"),
)
USER, GROUPS = b"x-forwarded-user", b"x-forwarded-groups"
ADA = (USER, b"ada@x.test")
NOBODY = "nobody"
REFUSED = "refused"


@pytest.mark.parametrize(
    ("peer", "headers", "outcome"),
    [
        # What a proxy says of people.
        (PROXY, [ADA], "ada@x.test is admin"),
        (PROXY, [(USER, b" ada@x.test ")], "ada@x.test is admin"),
        (PROXY, [(b"X-Forwarded-USER", b"ada@x.test")], "ada@x.test is admin"),
        (PROXY, [(USER, "zoë".encode())], "zoë is viewer"),
        (PROXY, [(USER, b"eve")], "eve is None"),
        (PROXY, [(USER, b"bob"), (GROUPS, b"all")], "bob is viewer"),
        (PROXY, [(USER, b"bob"), (GROUPS, b"all, on-call,")], "bob is operator"),
        (PROXY, [(USER, b"ADA@x.test")], "ADA@x.test is None"),
        (PROXY, [], NOBODY),
        # Nobody else says anything.
        (STRANGER, [ADA], NOBODY),
        (STRANGER, [ADA, (b"x-forwarded-for", b"10.0.0.7")], NOBODY),
        (STRANGER, [(b"X-FORWARDED-User", b"ada@x.test")], NOBODY),
        ("", [ADA], NOBODY),
        ("10.0.0.7, 192.0.2.1", [ADA], NOBODY),
        # A proxy that lets a visitor's own header through has not said who is asking.
        (PROXY, [ADA, (USER, b"eve")], REFUSED),
        (PROXY, [(USER, b"eve"), ADA], REFUSED),
        (PROXY, [ADA, ADA], REFUSED),
        (PROXY, [ADA, (USER, b"")], REFUSED),
        (PROXY, [(b"X-Forwarded-User", b"eve"), ADA], REFUSED),
        (PROXY, [(USER, b"ada@x.test, eve")], REFUSED),
        (PROXY, [(USER, b",ada@x.test")], REFUSED),
        (PROXY, [(USER, b"bob"), (GROUPS, b"all"), (GROUPS, b"on-call")], REFUSED),
        # Nor what is no name.
        (PROXY, [(USER, b"")], NOBODY),
        (PROXY, [(USER, b" \t ")], NOBODY),
        (PROXY, [(GROUPS, b"on-call")], NOBODY),
        (PROXY, [(USER, b"a" * (NAME_MOST_BYTES + 1))], REFUSED),
        (PROXY, [(USER, b"bob"), (GROUPS, b"on-call," * 1_000)], REFUSED),
        (PROXY, [(USER, b"ada\x00@x.test")], REFUSED),
        (PROXY, [(USER, "ada@x.test\u202e".encode())], REFUSED),
        (PROXY, [(USER, b"\xff\xfe")], REFUSED),
        # Other spellings are other headers.
        (PROXY, [(b"x_forwarded_user", b"ada@x.test")], NOBODY),
        (PROXY, [(b"x-forwarded_user", b"ada@x.test")], NOBODY),
        (PROXY, [(b"x_forwarded_user", b"ada@x.test"), (USER, b"eve")], "eve is None"),
        # Names that look like what the roles are written with.
        (PROXY, [(USER, b"group:on-call")], "group:on-call is None"),
        (PROXY, [(USER, b"*")], "* is None"),
        (PROXY, [(USER, b"bob"), (GROUPS, b"group:on-call; on-call")], "bob is None"),
    ],
)
def test_only_a_trusted_proxys_one_word_names_somebody(
    peer: str, headers: list[tuple[bytes, bytes]], outcome: str
) -> None:
    """And whatever was said, nothing behind the edge sees the headers."""
    scope = PEOPLE.seen({"headers": [(b"host", b"x"), *headers]}, peer)
    person = person_of(scope)
    if person is None:
        assert outcome == NOBODY
    elif person.problem:
        assert (outcome, person.name, person.role) == (REFUSED, "", None)
    else:
        assert f"{person.name} is {person.role}" == outcome
    left = {name.lower() for name, _ in scope["headers"]}
    assert not left & {USER, GROUPS}
    assert b"host" in left


def test_a_role_for_everybody_is_the_lowest_that_counts() -> None:
    """Of several roles the highest counts, and a person without one has that of everybody."""
    people = ProxyPeople(b"x-user", None, roles_of("*=viewer,ada=operator"))
    assert (people.role_of("ada", ()), people.role_of("eve", ())) == ("operator", "viewer")
    assert ProxyPeople(b"x-user", None, MappingProxyType({})).role_of("ada", ("g",)) is None


GOOD = {
    "proxy_identity_header": "X-Forwarded-User",
    "proxy_roles": "ada=admin",
    "trusted_proxies": "10.0.0.0/8",
}


def test_good_settings_are_taken() -> None:
    assert Settings(**GOOD).proxy_identity_header == "X-Forwarded-User"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "named", "says"),
    [
        ({"trusted_proxies": None}, "IDENTITY_HEADER", "must name the proxies"),
        ({"trusted_proxies": " "}, "IDENTITY_HEADER", "must name the proxies"),
        ({"trusted_proxies": "*"}, "IDENTITY_HEADER", "must not be everybody"),
        ({"trusted_proxies": "10.0.0.1, 0.0.0.0/0"}, "IDENTITY_HEADER", "must not be everybody"),
        ({"trusted_proxies": "::/0"}, "IDENTITY_HEADER", "must not be everybody"),
        ({"proxy_identity_header": "X_User"}, "IDENTITY_HEADER", "only your proxy sets"),
        ({"proxy_identity_header": "Cookie"}, "IDENTITY_HEADER", "only your proxy sets"),
        ({"proxy_identity_header": "X-Forwarded-For"}, "IDENTITY_HEADER", "only your proxy sets"),
        ({"proxy_identity_header": "X User"}, "IDENTITY_HEADER", "only your proxy sets"),
        ({"proxy_groups_header": "Host"}, "GROUPS_HEADER", "only your proxy sets"),
        ({"proxy_groups_header": "x-forwarded-user"}, "GROUPS_HEADER", "the same header"),
        ({"proxy_identity_header": None}, "ROLES", "set both or neither"),
        ({"proxy_roles": ""}, "ROLES", "is missing"),
        ({"proxy_roles": "ada"}, "ROLES", "must be names and roles"),
        ({"proxy_roles": "=admin"}, "ROLES", "must be names and roles"),
        ({"proxy_roles": "ada=root"}, "ROLES", "none of viewer, operator and admin"),
        ({"proxy_roles": "ada=viewer,ada=admin"}, "ROLES", "two roles"),
        ({"proxy_roles": "group:sre=admin"}, "ROLES", "has to be set"),
    ],
)
def test_settings_that_let_anybody_in_stop_the_start(
    wrong: dict[str, str | None], named: str, says: str
) -> None:
    """Refused in one line that names the setting."""
    values = {name: value for name, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises(SettingsError) as raised:
        Settings(**values)  # type: ignore[arg-type]
    text = str(raised.value)
    assert text.startswith(f"LINKPOOL_PROXY_{named}: ")
    assert says in text
    assert "\n" not in text
