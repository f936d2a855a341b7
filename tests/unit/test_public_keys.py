"""Test public keys: how origins are written, who is admitted, and who is recognised."""

from __future__ import annotations

import pytest

from pool.access.public_keys import (
    ORIGINS,
    PublicKeyRing,
    check_origin,
    issue_public_key,
    revoke_public_key,
)
from pool.access.visitors import Visitors
from pool.errors import (
    InvalidPublicKey,
    InvalidRequest,
    LedgerUnavailable,
    LinkpoolError,
    OriginNotAllowed,
    UnknownKey,
    UnknownMeeting,
)
from pool.ledger import Ledger
from pool.model.meeting_rules import check_meeting
from pool.model.meetings import Meeting

SITE = "https://www.example.com"
OTHER_KEY = "pk_" + "0" * 24


@pytest.mark.parametrize(
    "origin",
    [
        SITE,
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "https://[::1]:8443",
        "https://xn--mnchen-3ya.example",
        "https://example.com:80",
    ],
)
def test_an_origin_is_taken_as_browsers_write_it(origin: str) -> None:
    assert check_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "www.example.com",
        "https://",
        "https://www.example.com/",
        "https://www.example.com/page",
        "https://www.example.com?x",
        "https://WWW.example.com",
        "HTTPS://www.example.com",
        "https://*.example.com",
        "https://user@www.example.com",
        "https://www.example.com:443",
        "http://www.example.com:80",
        "https://www.example.com:",
        "https://www.example.com:0443",
        "https://www.example.com:99999",
        "https://www.example.com\n",
        "https://www.example.com https://evil.example",
        "https://münchen.example",
        "file:///home",
        "chrome-extension://abc",
        "https://[::1",
    ],
)
def test_what_no_browser_would_send_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        check_origin(text)


def ring(ledger: Ledger) -> PublicKeyRing:
    return PublicKeyRing(ledger)


async def test_a_key_is_for_its_meeting_and_its_origins(sqlite_ledger: Ledger) -> None:
    """Another origin, none at all, and a key that is not there are refused."""
    await sqlite_ledger.meetings.put(Meeting("demo"))
    key = await issue_public_key(sqlite_ledger, "demo", [SITE, SITE], "shop", "tests")
    known = ring(sqlite_ledger)
    with pytest.raises(LedgerUnavailable):
        known.admit(key.id, SITE)
    await known.refresh()
    assert known.admit(key.id, SITE).meeting_sid == "demo"
    assert key.origins == (SITE,)
    refusals: list[tuple[str, str | None, type[LinkpoolError]]] = [
        (key.id, None, OriginNotAllowed),
        (key.id, "null", OriginNotAllowed),
        (key.id, "http://www.example.com", OriginNotAllowed),
        (key.id, "https://www.example.com.evil.example", OriginNotAllowed),
        (OTHER_KEY, SITE, InvalidPublicKey),
        ("", SITE, InvalidPublicKey),
    ]
    for key_id, origin, error in refusals:
        with pytest.raises(error):
            known.admit(key_id, origin)


async def test_a_revoked_key_is_refused_for_good(sqlite_ledger: Ledger) -> None:
    await sqlite_ledger.meetings.put(Meeting("demo"))
    key = await issue_public_key(sqlite_ledger, "demo", [SITE], "", "tests")
    with pytest.raises(UnknownKey):
        await revoke_public_key(sqlite_ledger, key.id, "tests", sid="another")
    await revoke_public_key(sqlite_ledger, key.id, "tests", "moved", sid="demo")
    with pytest.raises(UnknownKey):
        await revoke_public_key(sqlite_ledger, key.id, "tests")
    known = ring(sqlite_ledger)
    await known.refresh()
    with pytest.raises(InvalidPublicKey):
        known.admit(key.id, SITE)
    entries = await sqlite_ledger.audit.list(meeting_sid="demo")
    assert [(each.action, each.reason) for each in entries] == [
        ("public-key-revoke", "moved"),
        ("public-key-create", ""),
    ]


async def test_a_key_needs_a_meeting_and_some_origins(sqlite_ledger: Ledger) -> None:
    with pytest.raises(UnknownMeeting):
        await issue_public_key(sqlite_ledger, "demo", [SITE], "", "tests")
    await sqlite_ledger.meetings.put(Meeting("demo"))
    for origins in ([], [f"https://{n}.example.com" for n in range(ORIGINS + 1)], [SITE, "*"]):
        with pytest.raises(InvalidRequest):
            await issue_public_key(sqlite_ledger, "demo", origins, "", "tests")
    assert await sqlite_ledger.public_keys.all() == []


def test_a_visitor_is_recognised_by_what_linkpool_signed() -> None:
    """Every process with the secret key recognises it, and nobody can forge one."""
    visitors, again = Visitors(b"a secret key"), Visitors(b"a secret key")
    visitor = visitors.new("pk_1")
    assert again.known("pk_1", visitor.text) == visitor
    assert visitors.new("pk_1") != visitor
    random, _, signature = visitor.text.partition(".")
    assert random not in visitor.customer_id
    assert signature not in visitor.customer_id
    forged = [
        "",
        "x",
        random,
        f"{random}.",
        f"{random}.{'A' * 22}",
        f"{'A' * 22}.{signature}",
        f"{random}.{signature}A",
        f"{random}-{signature}",
        visitor.text.upper(),
        f"{random}.{signature[:-1]}é",
        visitor.customer_id,
        "\0" * 45,
    ]
    for text in forged:
        assert visitors.known("pk_1", text) is None, text
    assert visitors.known("pk_2", visitor.text) is None
    assert Visitors(b"another secret key").known("pk_1", visitor.text) is None


@pytest.mark.parametrize(("reserve", "is_good"), [(0, True), (49, True), (50, False), (99, False)])
def test_a_reserve_leaves_something_to_public_claims(reserve: int, is_good: bool) -> None:
    meeting = Meeting("demo", min_fresh=50, reserve=reserve)
    if is_good:
        check_meeting(meeting)
        return
    with pytest.raises(InvalidRequest) as refused:
        check_meeting(meeting)
    assert "reserve" in refused.value.errors[0]
