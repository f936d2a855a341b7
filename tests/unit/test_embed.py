"""The embed code: the documented argument, and HTML that nothing can break out of."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.embed import SCRIPT_URL, embed, embed_html

SLUG = "one-off-c5530bc7c9ab"


class Page(HTMLParser):
    """What a browser makes of it: the elements, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.scripts.append(data)


def argument(text: str) -> Any:
    [call] = re.findall(r"neetoCal\.embed\((.*)\);\n", text)
    return json.loads(call)


def test_the_argument_is_the_documented_one() -> None:
    """Type, organization, slug and a height that follows the content."""
    assert embed("acme", SLUG, None) == {
        "type": "inline",
        "organization": "acme",
        "slug": SLUG,
        "queryParams": {"dynamicHeight": True},
    }


def test_the_slug_travels_in_the_ref_field() -> None:
    """With a ref field, the slug comes back with the booking."""
    parameters = embed("acme", SLUG, "link-ref")["queryParams"]
    assert parameters == {"dynamicHeight": True, "link-ref": SLUG}


def test_the_snippet_works_as_it_stands() -> None:
    """A place, a call that waits for the script, and the script at its documented URL."""
    text = embed_html("acme", SLUG, "ref", element_id="cal")
    page = Page(text)
    assert page.elements == [
        ("div", {"id": "cal"}),
        ("script", {}),
        ("script", {"async": None, "src": "https://cdn.neetocal.com/javascript/embed.js"}),
    ]
    assert page.elements[2][1]["src"] == SCRIPT_URL
    assert argument(text) == embed("acme", SLUG, "ref") | {
        "elementSelector": "#cal",
        "styles": {"height": "100%", "width": "100%"},
    }


def test_a_nonce_is_on_every_script() -> None:
    """A page with a strict content security policy can show the calendar."""
    page = Page(embed_html("acme", SLUG, nonce='n"><b>'))
    nonces = [attributes.get("nonce") for tag, attributes in page.elements if tag == "script"]
    assert nonces == ['n"><b>'] * 2


@pytest.mark.parametrize("element_id", ["", "1a", "a b", 'a"', "a<", "ä", "a" * 65, "a\n"])
def test_an_element_id_of_another_form_is_refused(element_id: str) -> None:
    """It stands in an attribute and in a selector, so its form is narrow."""
    with pytest.raises(ValueError, match="element_id"):
        embed_html("acme", SLUG, element_id=element_id)


hostile = st.text(max_size=20) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<!--",
        "<script>",
        "]]>",
        "\u2028\u2029",
        "'\"\\",
        "&lt;",
    ]
)


@given(hostile, hostile, st.none() | hostile, st.none() | hostile)
def test_no_text_breaks_out_of_its_place(
    organization: str, slug: str, ref_field: str | None, nonce: str | None
) -> None:
    """Whatever the values are, the page has the same three elements and the same data."""
    text = embed_html(organization, slug, ref_field, nonce=nonce)
    page = Page(text)
    assert [tag for tag, _ in page.elements] == ["div", "script", "script"]
    assert len(page.scripts) == 1
    assert not set("<>&\u2028\u2029") & set(page.scripts[0].replace("&&", ""))
    given = argument(text)
    assert (given["organization"], given["slug"]) == (organization, slug)
    assert given["queryParams"] == embed(organization, slug, ref_field)["queryParams"]
