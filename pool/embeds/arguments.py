"""Compose the argument of NeetoCal's embed call for one link.

Source: the provider's help article on embedding; for one-off links only the slug changes from
visitor to visitor. Query parameters named by field code prefill the booking form.
"""

from __future__ import annotations

from typing import Any

from pool.embeds.options import EmbedType, Options

_TYPES: dict[EmbedType, str] = {
    "inline": "inline",
    "element-click": "elementClick",
    "floating-popup": "floatingPopup",
}


def arguments(
    organization: str, slug: str, ref_field: str | None = None, options: Options | None = None
) -> dict[str, Any]:
    """Return the argument of `neetoCal.embed()`.

    Without options it is that of an inline embed, to which the page adds its `elementSelector`.
    With `ref_field`, the slug comes back in the booking as the answer to that question.
    """
    parameters: dict[str, Any] = {"dynamicHeight": True}
    if options is not None:
        options.check_reference(ref_field)
        parameters.update(options.prefill)
    if ref_field is not None:
        parameters[ref_field] = slug
    composed: dict[str, Any] = {
        "type": "inline",
        "organization": organization,
        "slug": slug,
        "queryParams": parameters,
    }
    return composed if options is None else _with_options(composed, options)


def _with_options(composed: dict[str, Any], options: Options) -> dict[str, Any]:
    composed["type"] = _TYPES[options.type]
    if options.type != "floating-popup":
        composed["elementSelector"] = options.element_selector or f"#{place_id(composed['slug'])}"
    if options.styles is not None:
        styles = options.styles
        composed["styles"] = styles if isinstance(styles, str) else dict(styles)
    flags = {
        "isSidebarAndCoverImgHidden": options.is_sidebar_and_cover_img_hidden,
        "shouldForwardQueryParams": options.should_forward_query_params,
    }
    composed.update({name: flag for name, flag in flags.items() if flag is not None})
    return composed


def place_id(slug: str) -> str:
    """Return the id of the element in which, or by which, the embed of a link opens."""
    return f"linkpool-{slug}"
