"""Test sessions of the page: bound to one key, ended on the server, safe in browsers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request, Response

from pool.access.api_keys import KeyRing, make_key
from pool.api.ops.session.cookies import cookie_of, drop_cookie, keep_cookie
from pool.api.ops.session.endings import Endings
from pool.api.ops.session.forms import check_same_site
from pool.api.ops.session.sessions import COOKIE, Sessions
from pool.errors import Forbidden, LedgerUnavailable, Unauthorized
from pool.ledger.records import ApiKey

ADMIN_KEY = "an admin key from the environment"
SECRET = b"secret"


class FakeLedger:
    """The keys and the ended sessions of a ledger; `away` makes it fail."""

    def __init__(self, *kept: ApiKey) -> None:
        self.kept = list(kept)
        self.ended: dict[str, datetime] = {}
        self.away = False
        self.keys = SimpleNamespace(all=self._keys, note_use=self._note_use)
        self.ended_sessions = SimpleNamespace(all=self._ended, add=self._end)

    def _check(self) -> None:
        if self.away:
            raise LedgerUnavailable("the ledger is away")

    async def _keys(self) -> list[ApiKey]:
        self._check()
        return self.kept

    async def _note_use(self, *_: object) -> None:
        self._check()

    async def _ended(self) -> dict[str, datetime]:
        self._check()
        return dict(self.ended)

    async def _end(self, name: str, ended_at: datetime, _forget_at: datetime) -> None:
        self._check()
        self.ended[name] = ended_at


class Process:
    """One API process: its keys, its sessions, and a clock that tests turn."""

    def __init__(self, ledger: Any, admin_key: str | None = ADMIN_KEY) -> None:
        self.now = datetime.now(UTC).timestamp()
        self.keys = KeyRing(ledger, admin_key)
        self.endings = Endings(ledger)
        self.sessions = Sessions(self.keys, SECRET, self.endings, clock=lambda: self.now)

    async def refresh(self) -> Process:
        await self.keys.refresh()
        await self.endings.refresh()
        return self

    def knows(self, cookie: str, address: str = "") -> bool:
        try:
            self.sessions.find(cookie, address)
        except Unauthorized:
            return False
        return True


async def test_a_session_ends_with_the_very_key_that_opened_it() -> None:
    """Another admin key in the environment, or another key of the same id, opens nothing."""
    ledger = FakeLedger()
    _, cookie = Process(ledger).sessions.open(ADMIN_KEY)
    assert Process(ledger).knows(cookie)
    assert not Process(ledger, "another admin key").knows(cookie)
    assert not Process(ledger, None).knows(cookie)
    clear, kept = make_key(frozenset({"read"}), None, "")
    ledger.kept = [kept]
    process = await Process(ledger).refresh()
    _, cookie = process.sessions.open(clear)
    assert process.knows(cookie)
    _, other = make_key(frozenset({"read"}), None, "")
    ledger.kept = [ApiKey(kept.id, other.digest, kept.scopes, None, "", kept.created_at)]
    await process.refresh()
    assert not process.knows(cookie)


async def test_a_key_that_runs_out_ends_its_sessions() -> None:
    """They end as with a revoked key."""
    soon = datetime.now(UTC) + timedelta(seconds=60)
    clear, kept = make_key(frozenset({"read"}), None, "", expires_at=soon)
    ledger = FakeLedger(kept)
    process = await Process(ledger).refresh()
    _, cookie = process.sessions.open(clear)
    past = datetime.now(UTC) - timedelta(seconds=1)
    ledger.kept = [
        ApiKey(kept.id, kept.digest, kept.scopes, None, "", kept.created_at, expires_at=past)
    ]
    await process.refresh()
    assert not process.knows(cookie)


async def test_signing_out_ends_the_session_on_the_server() -> None:
    """It ends in every process and after restarts, and no other session does."""
    ledger = FakeLedger()
    here, there = Process(ledger), Process(ledger)
    _, cookie = here.sessions.open(ADMIN_KEY)
    _, other = here.sessions.open(ADMIN_KEY)
    await here.sessions.end(here.sessions.find(cookie))
    assert not here.knows(cookie)
    await there.refresh()
    for process in (here, there, await Process(ledger).refresh()):
        assert not process.knows(cookie)
        assert process.knows(other)


async def test_signing_out_everywhere_ends_all_that_the_key_opened() -> None:
    """Sessions end; a person with the key may sign in again. Other keys' sessions stay."""
    clear, kept = make_key(frozenset({"read"}), None, "")
    ledger = FakeLedger(kept)
    process = await Process(ledger).refresh()
    cookies = [process.sessions.open(ADMIN_KEY)[1] for _ in range(3)]
    _, others = process.sessions.open(clear)
    await process.sessions.end_all(process.sessions.find(cookies[0]))
    await process.refresh()
    assert not any(process.knows(each) for each in cookies)
    assert process.knows(others)
    process.now += 1
    assert process.knows(process.sessions.open(ADMIN_KEY)[1])


async def test_a_sign_out_that_the_ledger_misses_is_reported_and_made_up_for() -> None:
    """It holds in this process at once, and everywhere once the ledger answers."""
    ledger = FakeLedger()
    process = Process(ledger)
    _, cookie = process.sessions.open(ADMIN_KEY)
    ledger.away = True
    with pytest.raises(LedgerUnavailable, match="signed out here"):
        await process.sessions.end(process.sessions.find(cookie))
    assert not process.knows(cookie)
    ledger.away = False
    await process.refresh()
    assert not process.knows(cookie)
    assert not (await Process(ledger).refresh()).knows(cookie)


async def test_a_session_is_good_where_its_key_is() -> None:
    """A stolen cookie opens nothing from elsewhere, if the key has networks."""
    clear, kept = make_key(frozenset({"read"}), None, "", networks=("10.0.0.0/8",))
    process = await Process(FakeLedger(kept)).refresh()
    with pytest.raises(Forbidden, match="address"):
        process.sessions.open(clear, "192.0.2.1")
    _, cookie = process.sessions.open(clear, "10.1.2.3")
    assert process.knows(cookie, "10.9.9.9")
    assert not process.knows(cookie, "192.0.2.1")


def request(scheme: str = "http", **headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({
        "type": "http", "method": "POST", "scheme": scheme, "path": "/ops/sign-in",
        "query_string": b"", "headers": [(b"host", b"ops.test"), *sent],
        "server": ("ops.test", 443), "client": ("203.0.113.7", 1),
    })  # fmt: skip


def test_over_https_cookies_are_of_this_host_and_secure() -> None:
    """Neither another host of the domain nor a plain connection can set or see them."""
    response = Response()
    keep_cookie(request("https"), response, COOKIE, "value", 60)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-linkpool_ops=value;")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    response = Response()
    drop_cookie(request("https"), response, COOKIE)
    dropped = response.headers["set-cookie"]
    assert dropped.startswith("__Host-linkpool_ops=")
    assert {"Secure", "Path=/", "Max-Age=0"} <= set(dropped.split("; "))


def test_over_http_cookies_work_too() -> None:
    """On the machine itself a browser would refuse the other form."""
    response = Response()
    keep_cookie(request(), response, COOKIE, "value", 60)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("linkpool_ops=value;")
    assert "Path=/ops" in cookie
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://ops.test"}, False),
        ({"origin": "http://ops.test"}, True),
        ({"origin": "https://ops.test"}, True),
        ({"origin": "https://evil.test"}, False),
        ({"origin": "https://ops.test.evil.test"}, False),
        ({"origin": "http://ops.test:81"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
    ],
)
def test_a_form_of_another_site_is_known_by_what_browsers_say(
    headers: dict[str, str], ours: bool
) -> None:
    """Sec-Fetch-Site decides, or Origin where an old browser sends only that."""
    if ours:
        check_same_site(request(**headers))
    else:
        with pytest.raises(Forbidden, match="another site"):
            check_same_site(request(**headers))


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (f"{COOKIE}=abc", "abc"),
        (f"a=1;{COOKIE}=abc; b=2", "abc"),
        (f"a=1; {COOKIE}=abc", "abc"),
        (f'{COOKIE}="abc=="', "abc=="),
        (f"{COOKIE}=old; {COOKIE}=new", "new"),
        (f"x{COOKIE}=abc; {COOKIE}2=abc; a={COOKIE}=abc", ""),
        (f"__Host-{COOKIE}=abc", ""),
        (f"{COOKIE}", ""),
        ("", ""),
        ("a=1;" * 7_000 + f"{COOKIE}=abc", "abc"),
        ('a="' + "\\001" * 7_000 + f'";{COOKIE}=abc', "abc"),
    ],
)
def test_our_cookie_is_found_among_any(sent: str, value: str) -> None:
    """No other is looked at: anybody may send thousands."""
    headers = [(b"host", b"x"), (b"cookie", sent.encode())]
    request = Request({"type": "http", "scheme": "http", "path": "/ops", "headers": headers})
    assert cookie_of(request, COOKIE) == value
