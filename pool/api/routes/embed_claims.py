"""Serve claims that browsers make by themselves, from pages of any origin.

The answer holds what the page shows, and neither the customer's id nor their e-mail address.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pool.access.api_keys import Caller, Scope
from pool.access.limits import network_of
from pool.access.tokens import TokenClaims
from pool.api.claim_path.answers import BookingBody, booking_body
from pool.api.claim_path.claim_lane import ClaimLane
from pool.api.claim_path.public_claims import PublicReceipt
from pool.api.http import cors
from pool.api.http.messages import address_of, json_response, wait_for_turn
from pool.api.routes.access import TheService
from pool.api.routes.bodies import problem_answers
from pool.api.service import Service
from pool.claims.queue import Receipt
from pool.embeds import arguments
from pool.errors import Forbidden, InvalidPublicKey, InvalidToken, OriginNotAllowed

router = APIRouter(prefix="/v1/embed", tags=["browsers"])


class EmbedClaim(BaseModel):
    """A browser's claim."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: str | None = Field(default=None, description="signed by the site's backend")
    public_key: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="instead of a token, from a page of one of the key's origins"
    )
    visitor: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="what the last answer to this public key had as `visitor`"
    )

    @model_validator(mode="after")
    def _one_proof(self) -> EmbedClaim:
        if (self.token is None) == (self.public_key is None):
            raise ValueError("send either a token or a public_key")
        if self.visitor is not None and self.public_key is None:
            raise ValueError("visitor belongs to a public_key; a token names the customer itself")
        return self


class EmbedAnswer(msgspec.Struct, frozen=True):
    """Hold what the page shows: `embed` goes to `neetoCal.embed()`, of the script at `script`."""

    state: Literal["claimed", "consumed"]
    url: str
    embed: dict[str, Any]
    script: str
    booking: BookingBody | msgspec.UnsetType = msgspec.UNSET  # set once the booking is known
    fallback_url: str | msgspec.UnsetType = msgspec.UNSET  # set if the meeting has one
    visitor: str | msgspec.UnsetType = msgspec.UNSET  # with a public key: to be sent next time


_SCHEMAS, OPENAPI_COMPONENTS = msgspec.json.schema_components(
    [EmbedAnswer], ref_template="#/components/schemas/{name}"
)
_ANSWER: dict[str, Any] = {"content": {"application/json": {"schema": _SCHEMAS[0]}}}


@router.post(
    "/claims",
    status_code=201,
    response_class=Response,
    responses={
        **problem_answers(400, 401, 403, 404, 408, 413, 422, 429, 503),
        200: _ANSWER | {"description": "The customer's existing link"},
        201: _ANSWER | {"description": "A link claimed now"},
    },
)
async def claim_from_browser(body: EmbedClaim, request: Request, service: TheService) -> Response:
    """Claim for the meeting and customer that a token names, or for a public key's visitor."""
    started = time.perf_counter()
    lane: ClaimLane = request.app.state.lane
    address = address_of(request)
    visitor: str | msgspec.UnsetType = msgspec.UNSET
    try:
        if body.token is not None:
            caller, claims = _admitted(service, body.token, address)
            receipt = await _claimed(service, lane, caller, claims, address)
        else:
            public = await _public(service, body, cors.origin_of(request.scope), address)
            receipt, visitor = public.receipt, public.visitor
    except (InvalidToken, InvalidPublicKey, Forbidden, OriginNotAllowed):
        await wait_for_turn(request.scope, service.doors.turn_in_all(address))
        raise
    lane.observe(time.perf_counter() - started)
    return json_response(_answer(service, receipt, visitor), 200 if receipt.reused else 201)


def _admitted(service: Service, token: str, address: str) -> tuple[Caller, TokenClaims]:
    """Return the key in whose name to claim, and the customer.

    Raise what `verify` raises, or Forbidden.

    The networks that a key is bound to are those of the site's backend, which signs; browsers
    are anywhere.
    """
    try:
        caller, claims = service.tokens.verify(token)
        caller.check(Scope.CLAIM, claims.meeting)
    except (InvalidToken, Forbidden):
        service.doors.failed("token", address)
        raise
    service.doors.proved(address)
    return caller, claims


async def _claimed(
    service: Service, lane: ClaimLane, caller: Caller, claims: TokenClaims, address: str
) -> Receipt:
    """Claim within the limits on new claims that the key has, shared with its other claims."""
    who = network_of(address)
    limited = lane.per_key.reached(caller.key_id) or lane.per_address.reached(who)
    if not limited:
        lane.per_key.count(caller.key_id)
        lane.per_address.count(who)
    receipt: Receipt | None = None
    try:
        receipt = await service.desk.claim(
            claims.meeting, claims.customer_id, claims.email, limited=limited
        )
    except asyncio.CancelledError:
        limited = True  # the client has gone, but a link may be spent: it stays counted
        raise
    finally:
        if not limited and (receipt is None or receipt.reused):
            lane.per_key.give_back(caller.key_id)
            lane.per_address.give_back(who)
    return receipt


async def _public(
    service: Service, body: EmbedClaim, origin: bytes | None, address: str
) -> PublicReceipt:
    """Claim for an anonymous visitor. Raise what `PublicClaims.claim` raises."""
    try:
        return await service.public_claims.claim(
            body.public_key or "", origin.decode() if origin else None, body.visitor, address
        )
    except (InvalidPublicKey, OriginNotAllowed):
        service.doors.failed("public-key", address)
        raise


def _answer(service: Service, receipt: Receipt, visitor: str | msgspec.UnsetType) -> bytes:
    meeting, claim = receipt.meeting, receipt.claim
    workspace = service.workspace_of(meeting)
    return msgspec.json.encode(
        EmbedAnswer(
            claim.state,
            f"{workspace.link_url}/{claim.slug}",
            arguments(workspace.subdomain, claim.slug, workspace.ref_field),
            workspace.embed_script_url,
            booking_body(claim.booked) if claim.booked else msgspec.UNSET,
            meeting.fallback_url or msgspec.UNSET,
            visitor,
        )
    )
