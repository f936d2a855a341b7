"""Compose the argument of NeetoCal's embed call for one link."""

from __future__ import annotations

from typing import Any


def arguments(organization: str, slug: str, ref_field: str | None = None) -> dict[str, Any]:
    """Return the argument of `neetoCal.embed()`, to which the page adds its `elementSelector`.

    With `ref_field`, the slug comes back in the booking as the answer to that question.
    """
    parameters: dict[str, Any] = {"dynamicHeight": True}
    if ref_field is not None:
        parameters[ref_field] = slug
    return {
        "type": "inline",
        "organization": organization,
        "slug": slug,
        "queryParams": parameters,
    }
