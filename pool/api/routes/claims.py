"""Serve claims and links through the framework; the claim itself is answered by the lane."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from pool.access.api_keys import Scope
from pool.api.claim_path.answers import ClaimAnswer, kept_claim_answer, link_answer
from pool.api.claim_path.claim_batch import BatchAnswer, BatchRequest, ClaimBatch, parse_batch
from pool.api.claim_path.claim_body import ClaimRequest, EmbeddedClaimRequest
from pool.api.claim_path.claim_lane import ClaimLane
from pool.api.http.messages import address_of, json_response, response_of
from pool.api.routes.access import Sid, TheActor, TheCaller, TheService
from pool.api.routes.bodies import LinkAnswer, Replacement, problem_answers
from pool.api.routes.embeds import TheClaimEmbed
from pool.api.service import replace_link
from pool.embeds import EMBED_TYPES
from pool.errors import StoreError, UnknownClaim, UnknownLink
from pool.model.claims import claim_of_link
from pool.model.links import check_customer_id, is_slug

router = APIRouter(prefix="/v1", tags=["claims"])

_SCHEMAS, _COMPONENTS = msgspec.json.schema_components(
    [ClaimRequest, EmbeddedClaimRequest, ClaimAnswer, BatchRequest, BatchAnswer],
    ref_template="#/components/schemas/{name}",
)
OPENAPI_COMPONENTS: dict[str, Any] = _COMPONENTS
_CLAIM: dict[str, Any] = {"content": {"application/json": {"schema": _SCHEMAS[2]}}}
_EMBED: dict[str, Any] = {
    "name": "embed",
    "in": "query",
    "schema": {"type": "string", "enum": list(EMBED_TYPES)},
    "description": "answer with `embed_html`, the code for a page; the body may then hold its "
    "options, and `prefill`: values of the booking form by field code",
}


@router.post(
    "/meetings/{sid}/claims",
    status_code=201,
    response_class=Response,
    responses={
        **problem_answers(400, 401, 403, 404, 408, 413, 422, 429, 503),
        200: _CLAIM | {"description": "The customer's existing link"},
        201: _CLAIM | {"description": "A link claimed now"},
    },
    openapi_extra={
        "parameters": [_EMBED],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": _SCHEMAS[:2]}}},
        },
    },
)
async def claim(sid: str, request: Request) -> Response:
    """Claim a link for a customer: the one they hold, or a fresh one."""
    lane: ClaimLane = request.app.state.lane
    return response_of(await lane.claim(sid, request.scope, request.receive))


@router.post(
    "/meetings/{sid}/claims:batch",
    response_class=Response,
    responses={
        **problem_answers(400, 401, 403, 404, 408, 413, 422, 503),
        200: {
            "description": "A result for each claim, in order",
            "content": {"application/json": {"schema": _SCHEMAS[4]}},
        },
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMAS[3]}}}
    },
)
async def claim_batch(
    sid: Sid, request: Request, caller: TheCaller, service: TheService
) -> Response:
    """Claim for up to 1,000 customers; each gets the answer of a claim of their own.

    Repeating a batch changes nothing: who holds a link keeps it.
    """
    caller.check(Scope.CLAIM, sid)
    claims = parse_batch(await request.body())
    await service.known_meetings.find(sid)
    lane: ClaimLane = request.app.state.lane
    batch = ClaimBatch(lane, sid, request.scope["headers"], address_of(request))
    return json_response(await batch.claim(claims))


@router.get(
    "/meetings/{sid}/claims/{customer_id:path}",
    response_class=Response,
    responses={
        **problem_answers(401, 403, 404, 422, 503),
        200: _CLAIM | {"description": "The claim"},
    },
)
async def show_claim(
    sid: Sid, customer_id: str, embed: TheClaimEmbed, caller: TheCaller, service: TheService
) -> Response:
    """Show the link a customer holds.

    Redis is read first, so a claim shows before it is recorded in the ledger.
    """
    caller.check(Scope.READ, sid)
    check_customer_id(customer_id)
    options = embed.options()
    meeting = await service.known_meetings.find(sid)
    workspace = service.workspace_of(meeting)
    try:
        pool = service.parts.store.pool_of(meeting, customer_id)
        found = await service.parts.store.claim_of(pool, customer_id)
    except StoreError:
        found = None
    if found is None:
        link = await service.parts.ledger.links.claim_of(sid, customer_id)
        if link is None:
            raise UnknownClaim("this customer holds no link of this meeting")
        found = claim_of_link(link, await service.parts.ledger.bookings.foremost(link))
    body = kept_claim_answer(sid, found, customer_id, workspace, options)
    return json_response(body)


@router.post(
    "/meetings/{sid}/claims/{customer_id:path}/replace",
    response_class=Response,
    responses={
        **problem_answers(401, 403, 404, 409, 422, 503),
        200: _CLAIM | {"description": "The claim of the fresh link"},
    },
)
async def replace_claim(
    sid: Sid,
    customer_id: str,
    embed: TheClaimEmbed,
    caller: TheActor,
    service: TheService,
    body: Replacement,
) -> Response:
    """Give a customer a fresh link in place of one that no longer works, and retire that one."""
    caller.check(Scope.ADMIN, sid)
    check_customer_id(customer_id)
    options = embed.options()
    meeting = await service.known_meetings.find(sid)
    workspace = service.workspace_of(meeting)
    done = await replace_link(
        service, meeting, customer_id, body.reason, caller.key_id, slug=body.slug
    )
    answer = kept_claim_answer(
        sid, done.claim, customer_id, workspace, options, reused=not done.is_new
    )
    return json_response(answer)


@router.delete(
    "/meetings/{sid}/claims/{customer_id:path}",
    status_code=204,
    responses=problem_answers(401, 403, 404, 422, 503),
)
async def forget_claim(sid: Sid, customer_id: str, caller: TheActor, service: TheService) -> None:
    """Forget a customer: erase id, e-mail and metadata, and never use the link again."""
    caller.check(Scope.ADMIN, sid)
    check_customer_id(customer_id)
    await service.administration.forget(sid, customer_id, caller.key_id)


@router.get("/links/{slug}", responses=problem_answers(401, 403, 404, 503))
async def show_link(slug: str, caller: TheCaller, service: TheService) -> LinkAnswer:
    """Show a link's state and history, as the ledger knows them."""
    caller.check(Scope.READ)
    found = await service.parts.ledger.search.link(slug) if is_slug(slug) else None
    if found is None:
        raise UnknownLink("linkpool has made no link with this slug")
    caller.check(Scope.READ, found.link.meeting_sid)
    bookings = await service.parts.ledger.bookings.of_link(slug)
    return LinkAnswer(**link_answer(found.link, bookings, found.replaced))
