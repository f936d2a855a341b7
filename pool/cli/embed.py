"""Print the embed code of a link: `linkpool embed`."""

from __future__ import annotations

from typing import Annotated

import typer

from pool.cli.common import WRONG_USAGE, AsJson, DataDir, fail, on_parts, settings_for
from pool.cli.printing import print_made
from pool.compose import Parts
from pool.embeds import Options, arguments, check_embed_type, html
from pool.errors import UnknownMeeting
from pool.operations.shown_claims import claim_on, link_of_slug
from pool.supply.link_bases import refreshed


def embed(
    slug: Annotated[str, typer.Argument(help="A link that a customer holds.")],
    type_: Annotated[
        str, typer.Option("--type", help="inline, element-click or floating-popup.")
    ] = "inline",
    prefill: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Fill in a field of the booking form, by its code; repeatable. Not kept.",
        ),
    ] = None,
    nonce: Annotated[
        str | None, typer.Option(help="The nonce of the page's Content Security Policy.")
    ] = None,
    styles: Annotated[
        str | None, typer.Option(help="CSS for the frame that the provider shows.")
    ] = None,
    element_selector: Annotated[
        str | None, typer.Option(help="The page's own container or button, as a CSS selector.")
    ] = None,
    button_text: Annotated[
        str | None, typer.Option(help="The text of the button that element-click adds.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print the code that embeds a link in a page, or that says "you are booked"."""
    settings = settings_for(data_dir)
    values = [each.partition("=") for each in prefill or []]
    if not all(sign for _, sign, _ in values):
        fail("--prefill: write FIELD=VALUE", WRONG_USAGE)

    async def work(parts: Parts) -> dict[str, object]:
        options = Options(
            type=check_embed_type(type_, "--type"),
            prefill={name: value for name, _, value in values},
            nonce=nonce,
            styles=styles,
            element_selector=element_selector,
            button_text=button_text,
        )
        link = await link_of_slug(parts.ledger, slug)
        claim = await claim_on(parts.ledger, parts.store, link)
        meeting = await parts.ledger.meetings.get(link.meeting_sid)
        await refreshed(parts.bases)
        workspace = settings.workspace(meeting.workspace) if meeting is not None else None
        if workspace is None:
            raise UnknownMeeting(f"the workspace of {link.meeting_sid} is not configured")
        argument = arguments(workspace.subdomain, slug, workspace.ref_field, options)
        code = html(workspace, claim, options)
        return {"slug": slug, "state": claim.state, "embed": argument, "embed_html": code}

    found = on_parts(settings, work)
    print_made(found["embed_html"], found, as_json=as_json)
