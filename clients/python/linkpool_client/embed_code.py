"""Embed code made here, for a linkpool that does not answer `embed_html` yet.

Source: NeetoCal's help on embedding; for one-off links only the slug changes per visitor.
"""

from __future__ import annotations

import json
from html import escape

from linkpool_client.models import Claimed, EmbedType

_SCRIPT = "https://cdn.neetocal.com/javascript/embed.js"
_TYPES = {"inline": "inline", "element-click": "elementClick", "floating-popup": "floatingPopup"}
_PLACES = {
    "inline": '<div id="{id}"></div>',
    "element-click": '<button type="button" id="{id}">Book a time</button>',
    "floating-popup": "",
}


def html(claimed: Claimed, embed: EmbedType) -> str:
    """Return the code that shows a claim's link, or that the customer has booked."""
    if claimed.claim.booked:
        return _booked(claimed)
    place_id = f"linkpool-{claimed.claim.slug}"
    arguments = {**claimed.embed, "type": _TYPES[embed]}
    if _PLACES[embed]:
        arguments["elementSelector"] = f"#{place_id}"
    return (
        _PLACES[embed].format(id=escape(place_id))
        + "<script>window.neetoCal=window.neetoCal||{embed:function(){"
        + "(neetoCal.q=neetoCal.q||[]).push(arguments)}};"
        + f"neetoCal.embed({_json_in_script(arguments)});</script>"
        + f'<script async src="{_SCRIPT}"></script>'
    )


def _booked(claimed: Claimed) -> str:
    booking = claimed.claim.booking
    words = "You are booked"
    if booking is not None and booking.starts_at is not None:
        words += f" for {booking.starts_at:%Y-%m-%d %H:%M %Z}"
    manage = ""
    if booking is not None and (booking.manage_url or "").startswith(("https://", "http://")):
        manage = f' <a href="{escape(booking.manage_url or "")}">Manage your booking</a>'
    return f"<p>{escape(words)}.{manage}</p>"


def _json_in_script(value: object) -> str:
    """Return JSON in which nothing can end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
