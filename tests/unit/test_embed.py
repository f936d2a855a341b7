"""Test the argument of NeetoCal's embed call."""

from __future__ import annotations

from pool.embeds import arguments

SLUG = "one-off-c5530bc7c9ab"


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
