"""Browser tokens and the embed code that the Python client makes by itself."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from linkpool_client import Booking, answers, embed_code, sign_token

from tests.clients.jwt_reader import read
from tests.clients.scripted_linkpool import CLAIMED

SECRET = "a-token-secret-of-at-least-32-characters"
HOSTILE = "</script><script>alert(1)//\u2028'\"&</script x><!--<script "


def test_a_token_says_no_more_than_the_contract() -> None:
    """HS256, the key's id in the header, and exactly the claims that were asked for."""
    before = int(time.time())
    token = sign_token(SECRET, "1a2b3c4d", "demo", "order-4711", 600)
    header, claims = read(token, SECRET)
    assert header == {"alg": "HS256", "typ": "JWT", "kid": "1a2b3c4d"}
    assert before + 600 <= claims.pop("exp") <= time.time() + 600
    assert claims == {"meeting": "demo", "customer_id": "order-4711"}


def test_a_token_carries_an_email_and_any_letters() -> None:
    """An hour as a timedelta; names beyond ASCII come back as they were."""
    token = sign_token(SECRET, "1a2b3c4d", "demo", "zoë/👋", timedelta(hours=1), "zoë@example.com")
    _, claims = read(token, SECRET)
    assert claims["exp"] == pytest.approx(time.time() + 3600, abs=5)
    assert (claims["customer_id"], claims["email"]) == ("zoë/👋", "zoë@example.com")
    with pytest.raises(AssertionError, match="signature"):
        read(token, SECRET + "x")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secret": "short"}, "32 characters"),
        ({"key_id": "lp_1a2b3c4d"}, "8 hex digits"),
        ({"key_id": "1A2B3C4D"}, "8 hex digits"),
        ({"meeting": ""}, "meeting"),
        ({"customer_id": ""}, "customer id"),
        ({"customer_id": "x" * 257}, "customer id"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": timedelta(seconds=-1)}, "expires_in"),
    ],
)
def test_a_token_that_could_not_work_is_not_made(wrong: dict[str, Any], said: str) -> None:
    """The backend's own log says what is wrong, not a visitor's browser; never the secret."""
    right = {"secret": SECRET, "key_id": "1a2b3c4d", "meeting": "demo", "customer_id": "c"}
    with pytest.raises(ValueError, match=said) as raised:
        sign_token(**({"expires_in": 60} | right | wrong))
    assert SECRET not in str(raised.value)


class _Read(HTMLParser):
    """A browser's reading of a text: its elements, and the content of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.script = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.script += data


@pytest.mark.parametrize(
    ("kind", "place", "type_"),
    [
        ("inline", "div", "inline"),
        ("element-click", "button", "elementClick"),
        ("floating-popup", None, "floatingPopup"),
    ],
)
def test_embed_code_made_here_calls_the_providers_script(
    kind: Any, place: str | None, type_: str
) -> None:
    """The place and the call name the same element; nothing in a value ends the script."""
    body = CLAIMED | {"embed": CLAIMED["embed"] | {"queryParams": {"name": HOSTILE}}}
    html = embed_code.html(answers.claimed(body), kind)
    # Browsers end a script in more places than Python's parser does.
    assert (html.count("<script"), html.count("</script"), html.count("<!--")) == (2, 2, 0)
    found = _Read(html)
    places = [] if place is None else [place]
    assert [tag for tag, _ in found.elements] == [*places, "script", "script"]
    called = re.search(r"neetoCal\.embed\((\{\".*\})\);", found.script)
    assert called is not None
    arguments = json.loads(called[1])
    assert (arguments["type"], arguments["slug"]) == (type_, "one-off-1")
    assert arguments["queryParams"] == {"name": HOSTILE}
    if place is not None:
        assert arguments["elementSelector"] == f"#{found.elements[0][1]['id']}"


@pytest.mark.parametrize(
    ("manage_url", "linked"),
    [("https://acme.neetocal.com/b/1?a=1&b=\"'<", True), ("javascript:alert(1)", False)],
)
def test_who_has_booked_is_told_so(manage_url: str, linked: bool) -> None:
    """The block has the time and the page to manage the booking, where that is a web page."""
    claimed = answers.claimed(CLAIMED)
    at = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    booking = Booking("b-1", "confirmed", at, None, "Europe/Berlin", manage_url)
    booked = replace(claimed, claim=replace(claimed.claim, state="consumed", booking=booking))
    html = embed_code.html(booked, "inline")
    assert "You are booked for 2026-12-01 09:30 UTC" in html
    anchors = [attrs for tag, attrs in _Read(html).elements if tag == "a"]
    assert anchors == ([{"href": manage_url}] if linked else [])
