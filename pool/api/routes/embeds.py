"""Serve the embed code of links that customers hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from pool.access.api_keys import Scope
from pool.api.http.messages import json_response
from pool.api.routes.access import TheCaller, TheService
from pool.api.routes.bodies import problem_answers
from pool.embeds import EmbedType, Options, arguments, html
from pool.operations.shown_claims import claim_on, link_of_slug

router = APIRouter(prefix="/v1", tags=["claims"])


class Look(BaseModel):
    """Say how an embed looks and behaves. Nothing personal: servers and proxies log addresses."""

    nonce: str | None = Field(default=None, description="of the page's Content Security Policy")
    styles: str | None = Field(default=None, description="of the provider's frame")
    element_selector: str | None = Field(
        default=None, description="a CSS selector of the page's own container or button"
    )
    button_text: str | None = Field(default=None, description="of the button of element-click")
    is_sidebar_and_cover_img_hidden: bool | None = None
    should_forward_query_params: bool | None = Field(
        default=None, description="pass the page's own query parameters on to the form"
    )


class ClaimEmbed(Look):
    """The embed code that a claim's answer brings, if any."""

    embed: EmbedType | None = Field(
        default=None, description="answer with `embed_html`, the code for a page"
    )

    def options(self) -> Options | None:
        """Return the options of the embed, None if none is asked for. Raise InvalidRequest."""
        return None if self.embed is None else Options.asked_for(self.embed, self)


class LinkEmbed(Look):
    """The embed code of a link."""

    type: EmbedType = "inline"
    format: Literal["html", "json"] = "html"


class LinkEmbedAnswer(BaseModel):
    """The code that a page shows for a link; `embed` is the argument for the provider's script."""

    slug: str
    state: Literal["claimed", "consumed"]
    embed: dict[str, Any]
    embed_html: str


TheClaimEmbed = Annotated[ClaimEmbed, Query()]

_CODE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The code, or that the customer has booked",
        "model": LinkEmbedAnswer,
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/links/{slug}/embed",
    response_class=Response,
    responses={**problem_answers(401, 403, 404, 422, 503), **_CODE},
)
async def show_embed(
    slug: str, wanted: Annotated[LinkEmbed, Query()], caller: TheCaller, service: TheService
) -> Response:
    """Show the code that embeds a customer's link in a page, or confirms their booking."""
    caller.check(Scope.READ)
    options = Options.asked_for(wanted.type, wanted)
    link = await link_of_slug(service.parts.ledger, slug)
    caller.check(Scope.READ, link.meeting_sid)
    claim = await claim_on(service.parts.ledger, service.parts.store, link)
    meeting = await service.known_meetings.find(link.meeting_sid)
    workspace = service.workspace_of(meeting)
    code = html(workspace, claim, options)
    if wanted.format == "html":
        return Response(code, headers={"cache-control": "no-store"}, media_type="text/html")
    answer = LinkEmbedAnswer(
        slug=claim.slug,
        state=claim.state,
        embed=arguments(workspace.subdomain, claim.slug, workspace.ref_field, options),
        embed_html=code,
    )
    return json_response(answer.model_dump_json())
