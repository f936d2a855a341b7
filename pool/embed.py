"""The embed code that shows a claimed link on the site's page.

Source: NeetoCal's help on embedding; for one-off links only `slug` changes per visitor,
and query parameters named by a question's field code fill in its answer.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

SCRIPT_URL = "https://cdn.neetocal.com/javascript/embed.js"

_element_id = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
# Inside <script> these could end the element. json.dumps itself leaves nothing but ASCII,
# so that U+2028 and U+2029, line ends to older browsers, are escaped too.
_IN_SCRIPT = {ord(each): f"\\u{ord(each):04x}" for each in "<>&"}


def embed(organization: str, slug: str, ref_field: str | None = None) -> dict[str, Any]:
    """The argument of `neetoCal.embed()`, to which the page adds its `elementSelector`.

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


def embed_html(
    organization: str,
    slug: str,
    ref_field: str | None = None,
    *,
    element_id: str = "linkpool-embed",
    nonce: str | None = None,
) -> str:
    """HTML to paste where the calendar shall stand; everything encoded for its place.

    `nonce` lets its scripts pass a content security policy. Raises ValueError if
    `element_id` is not a letter and up to 63 letters, digits, - and _.
    """
    if not _element_id.fullmatch(element_id):
        raise ValueError("element_id must be a letter and up to 63 letters, digits, - and _")
    argument = embed(organization, slug, ref_field) | {
        "elementSelector": f"#{element_id}",
        "styles": {"height": "100%", "width": "100%"},
    }
    allowed = "" if nonce is None else f' nonce="{html.escape(nonce)}"'
    return (
        f'<div id="{element_id}"></div>\n'
        f"<script{allowed}>\n"
        # Calls made before the script below has loaded wait in a queue, which it works off.
        "window.neetoCal = window.neetoCal || "
        "{ embed: function () { (neetoCal.q = neetoCal.q || []).push(arguments); } };\n"
        f"neetoCal.embed({_script_json(argument)});\n"
        "</script>\n"
        f'<script async src="{SCRIPT_URL}"{allowed}></script>\n'
    )


def _script_json(value: object) -> str:
    return json.dumps(value).translate(_IN_SCRIPT)
