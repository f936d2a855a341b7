"""Write the code that a page shows for a claim."""

from __future__ import annotations

from pool.config.settings import Workspace
from pool.embeds import encoding
from pool.embeds.arguments import arguments, place_id
from pool.embeds.booked import booked_block
from pool.embeds.options import Options
from pool.model.links import Claim

BUTTON_TEXT = "Book a time"

# Calls wait in a queue until the provider's script is there, so that nothing blocks the page.
_QUEUE = (
    "window.neetoCal=window.neetoCal||"
    "{embed:function(){(neetoCal.q=neetoCal.q||[]).push(arguments)}};"
)


def html(workspace: Workspace, claim: Claim, options: Options | None = None) -> str:
    """Return the code for a claim, ready to paste into a page: ASCII, on one line.

    It is the embed of the link or, once the customer has booked, a block that says so. Raise
    InvalidRequest if an option does not fit this workspace.
    """
    options = options or Options()
    if claim.state == "consumed":
        return booked_block(claim.booked)
    composed = arguments(workspace.subdomain, claim.slug, workspace.ref_field, options)
    nonce = f' nonce="{encoding.attribute(options.nonce)}"' if options.nonce else ""
    code = (
        _place(claim.slug, options)
        + f"<script{nonce}>{_QUEUE}neetoCal.embed({encoding.json_in_script(composed)});</script>"
        + f'<script{nonce} async src="{encoding.attribute(workspace.embed_script_url)}"></script>'
        + _without_scripts(workspace, claim.slug, composed["queryParams"], options)
    )
    return code.encode("ascii", "xmlcharrefreplace").decode()


def _place(slug: str, options: Options) -> str:
    """Return the element in which the embed opens, or its button, unless the page has one."""
    if options.element_selector is not None or options.type == "floating-popup":
        return ""
    place = encoding.attribute(place_id(slug))
    if options.type == "inline":
        return f'<div id="{place}"></div>'
    words = encoding.text(options.button_text or BUTTON_TEXT)
    return f'<button type="button" id="{place}"><bdi>{words}</bdi></button>'


def _without_scripts(
    workspace: Workspace, slug: str, parameters: dict[str, object], options: Options
) -> str:
    """Return a plain link for browsers that run no scripts; it carries the same parameters."""
    answers = {name: value for name, value in parameters.items() if isinstance(value, str)}
    address = f"{workspace.link_url}/{slug}"
    if answers:
        address += f"?{encoding.query(answers)}"
    url = encoding.web_address(address)
    if url is None:
        return ""
    words = encoding.text(options.button_text or BUTTON_TEXT)
    return (
        f'<noscript><a href="{encoding.attribute(url)}" rel="nofollow"><bdi>{words}</bdi></a>'
        "</noscript>"
    )
