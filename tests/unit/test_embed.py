"""Test the embed code of a claim, and its options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from pool.config.settings import Workspace
from pool.embeds import EmbedType, Options, arguments, check_embed_type, html
from pool.errors import InvalidRequest
from pool.model.links import Booked, Claim

SLUG = "one-off-c5530bc7c9ab"
CLAIM = Claim(SLUG, "claimed", "pool", 1)
WORKSPACE = Workspace(name="default", subdomain="acme", api_key=SecretStr("k"), ref_field="ref")
BEGINS_MS = 1_795_593_600_000  # 2026-11-25 08:00 in UTC


def booked(**fields: Any) -> Claim:
    """A claim whose booking stands."""
    fields = {"sid": "b-1", "state": "confirmed", "starts_at_ms": BEGINS_MS} | fields
    return Claim(SLUG, "consumed", "pool", 1, 2, "b-1", Booked(**fields))


def test_the_argument_is_the_documented_one() -> None:
    """Only organization and slug change from visitor to visitor."""
    assert arguments("acme", SLUG) == {
        "type": "inline",
        "organization": "acme",
        "slug": SLUG,
        "queryParams": {"dynamicHeight": True},
    }


def test_the_slug_travels_in_the_ref_field() -> None:
    """With a ref field, the booking form carries the slug back to us."""
    assert arguments("acme", SLUG, "ref")["queryParams"] == {"dynamicHeight": True, "ref": SLUG}


def test_all_options_are_the_providers() -> None:
    """Each option stands under the name that the provider gives it."""
    options = Options(
        type="element-click",
        prefill={"name": "Zoë", "plan-code": "pro"},
        styles={"height": "700px"},
        element_selector="#open",
        is_sidebar_and_cover_img_hidden=True,
        should_forward_query_params=False,
    )
    assert arguments("acme", SLUG, "ref", options) == {
        "type": "elementClick",
        "organization": "acme",
        "slug": SLUG,
        "elementSelector": "#open",
        "styles": {"height": "700px"},
        "isSidebarAndCoverImgHidden": True,
        "shouldForwardQueryParams": False,
        "queryParams": {"dynamicHeight": True, "name": "Zoë", "plan-code": "pro", "ref": SLUG},
    }


def test_the_inline_code_is_the_providers() -> None:
    """A container, the call, the script, and a plain link where no scripts run."""
    queue = "{embed:function(){(neetoCal.q=neetoCal.q||[]).push(arguments)}}"
    assert html(WORKSPACE, CLAIM) == (
        f'<div id="linkpool-{SLUG}"></div>'
        f"<script>window.neetoCal=window.neetoCal||{queue};"
        'neetoCal.embed({"type": "inline", "organization": "acme", '
        f'"slug": "{SLUG}", "queryParams": {{"dynamicHeight": true, "ref": "{SLUG}"}}, '
        f'"elementSelector": "\\u0023linkpool-{SLUG}"}});</script>'
        '<script async src="https://cdn.neetocal.com/javascript/embed.js"></script>'
        f'<noscript><a href="https://acme.neetocal.com/{SLUG}?ref={SLUG}" rel="nofollow">'
        "<bdi>Book a time</bdi></a></noscript>"
    )


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        ("inline", f'<div id="linkpool-{SLUG}"></div>'),
        ("element-click", f'<button type="button" id="linkpool-{SLUG}"><bdi>Go</bdi></button>'),
        ("floating-popup", ""),
    ],
)
def test_each_type_brings_the_element_it_needs(kind: EmbedType, element: str) -> None:
    """A container, a button or nothing; nothing at all where the page has its own."""
    options = Options(type=kind, button_text="Go" if kind == "element-click" else None)
    assert html(WORKSPACE, CLAIM, options).startswith(f"{element}<script>")
    if kind != "floating-popup":
        own = html(WORKSPACE, CLAIM, Options(type=kind, element_selector="#mine"))
        assert own.startswith("<script>")
        assert '"elementSelector": "\\u0023mine"' in own


def test_every_script_carries_the_nonce() -> None:
    """A page with a strict Content Security Policy runs both."""
    code = html(WORKSPACE, CLAIM, Options(nonce="r4nd0m+/=="))
    assert re.findall(r"<script[^>]*>", code) == [
        '<script nonce="r4nd0m+/==">',
        '<script nonce="r4nd0m+/==" async src="https://cdn.neetocal.com/javascript/embed.js">',
    ]


def test_who_has_booked_sees_when_and_where_to_change_it() -> None:
    """The time is that of the booking's zone; no script is loaded."""
    page = "https://acme.neetocal.com/bookings/b-1?a=1&b=2"
    assert html(WORKSPACE, booked(time_zone="Europe/Berlin", manage_url=page)) == (
        '<div class="linkpool-booked"><p>You are booked for '
        '<time datetime="2026-11-25T08:00:00Z">Wednesday, 25 November 2026 at 09:00 '
        "(Europe/Berlin)</time>.</p>"
        '<p><a href="https://acme.neetocal.com/bookings/b-1?a=1&amp;b=2" rel="nofollow">'
        "Manage your booking</a></p></div>"
    )


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (booked(time_zone="Nowhere/Else"), "25 November 2026 at 08:00 (UTC)</time>."),
        (booked(time_zone="../../etc/passwd"), "08:00 (UTC)</time>."),
        (booked(time_zone="Europe"), "08:00 (UTC)</time>."),
        (booked(starts_at_ms=None), "You are booked.</p></div>"),
        (booked(starts_at_ms=10**18), "You are booked.</p></div>"),
        (booked(starts_at_ms=-(10**18)), "You are booked.</p></div>"),
        (booked(state="pending"), "2026 at 08:00 (UTC)</time> waits for approval.</p></div>"),
        (Claim(SLUG, "consumed", "pool", 1, 2), "You are booked.</p></div>"),
    ],
)
def test_what_is_not_known_of_a_booking_is_left_out(claim: Claim, says: str) -> None:
    """An unknown zone, a time no calendar has, and a booking that is not known at all."""
    assert says in html(WORKSPACE, claim)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.example", "data:text/html,x", ""])
def test_only_web_addresses_are_linked(url: str) -> None:
    """Any other address is left out."""
    assert "<a" not in html(WORKSPACE, booked(manage_url=url))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"nonce": 'x" onload="alert(1)'}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"prefill": {"__proto__": "x"}}, "prefill"),
        ({"prefill": {"a b": "x"}}, "prefill"),
        ({"prefill": {"dynamicHeight": "false"}}, "prefill"),
        ({"prefill": {"name": "x" * 4_001}}, "prefill"),
        ({"prefill": {f"f{n}": "" for n in range(51)}}, "prefill"),
        ({"styles": {"a;b": "x"}}, "styles"),
        ({"styles": {"height": "x" * 501}}, "styles"),
        ({"element_selector": ""}, "element_selector"),
        ({"element_selector": "#a", "type": "floating-popup"}, "element_selector"),
        ({"button_text": "Go"}, "button_text"),
        ({"button_text": "x" * 501, "type": "element-click"}, "button_text"),
        ({"type": "popup"}, "type"),
    ],
)
def test_a_wrong_option_is_named(given: Mapping[str, Any], named: str) -> None:
    """The error says which option is wrong, and repeats no value."""
    with pytest.raises(InvalidRequest) as raised:
        Options(**given)
    assert [line.partition(":")[0] for line in raised.value.errors] == [named]
    assert "xxx" not in str(raised.value.errors)


def test_nobody_prefills_the_field_of_the_slug() -> None:
    """Otherwise a booking would come back with another customer's slug."""
    with pytest.raises(InvalidRequest) as raised:
        html(WORKSPACE, CLAIM, Options(prefill={"ref": "one-off-other"}))
    assert "ref" in raised.value.errors[0]


def test_prefill_stays_out_of_logs() -> None:
    """Options that are printed show no personal data."""
    assert "Zoë" not in repr(Options(prefill={"name": "Zoë"}))


def test_an_unknown_type_is_answered_with_the_choices() -> None:
    """The error names the parameter and what it may be."""
    assert check_embed_type("element-click", "embed") == "element-click"
    with pytest.raises(InvalidRequest) as raised:
        check_embed_type("elementClick", "embed")
    assert raised.value.errors == ("embed: must be one of inline, element-click, floating-popup",)
