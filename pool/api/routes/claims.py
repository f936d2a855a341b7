"""Serve claims and links through the framework; the claim itself is answered by the lane."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from pool.access.api_keys import Scope
from pool.api.claim_path.answers import (
    ClaimAnswer,
    kept_claim_answer,
    link_answer,
    replaced_claim_answer,
)
from pool.api.claim_path.claim_lane import ClaimLane, ClaimRequest
from pool.api.http.messages import response_of
from pool.api.routes.access import Sid, TheCaller, TheService
from pool.api.routes.bodies import LinkAnswer, Replacement, problem_answers
from pool.api.service import replace_link
from pool.errors import StoreError, UnknownClaim, UnknownLink, UnknownMeeting
from pool.model.claims import claim_of_link
from pool.model.links import check_customer_id, is_slug

router = APIRouter(prefix="/v1", tags=["claims"])

_SCHEMAS, _COMPONENTS = msgspec.json.schema_components(
    [ClaimRequest, ClaimAnswer], ref_template="#/components/schemas/{name}"
)
OPENAPI_COMPONENTS: dict[str, Any] = _COMPONENTS
_CLAIM: dict[str, Any] = {"content": {"application/json": {"schema": _SCHEMAS[1]}}}


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
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _SCHEMAS[0]}},
        }
    },
)
async def claim(sid: str, request: Request) -> Response:
    """Claim a link for a customer: the one they hold, or a fresh one."""
    lane: ClaimLane = request.app.state.lane
    return response_of(await lane.claim(sid, request.scope, request.receive))


@router.get(
    "/meetings/{sid}/claims/{customer_id:path}",
    response_class=Response,
    responses={
        **problem_answers(401, 403, 404, 422, 503),
        200: _CLAIM | {"description": "The claim"},
    },
)
async def show_claim(
    sid: Sid, customer_id: str, caller: TheCaller, service: TheService
) -> Response:
    """Show the link a customer holds.

    Redis is read first, so a claim shows before it is recorded in the ledger.
    """
    caller.check(Scope.READ, sid)
    check_customer_id(customer_id)
    meeting = await service.known_meetings.find(sid)
    workspace = service.settings.workspace(meeting.workspace)
    if workspace is None:
        raise UnknownMeeting(f"the workspace of meeting {sid} is no longer configured")
    try:
        found = await service.parts.store.claim_of(sid, customer_id)
    except StoreError:
        found = None
    if found is None:
        link = await service.parts.ledger.links.claim_of(sid, customer_id)
        if link is None:
            raise UnknownClaim("this customer holds no link of this meeting")
        found = claim_of_link(link, await service.parts.ledger.bookings.foremost(link))
    body = kept_claim_answer(sid, found, customer_id, workspace)
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")


@router.post(
    "/meetings/{sid}/claims/{customer_id:path}/replace",
    response_class=Response,
    responses={
        **problem_answers(401, 403, 404, 409, 422, 503),
        200: _CLAIM | {"description": "The claim of the fresh link"},
    },
)
async def replace_claim(
    sid: Sid, customer_id: str, caller: TheCaller, service: TheService, body: Replacement
) -> Response:
    """Give a customer a fresh link in place of one that no longer works, and retire that one."""
    caller.check(Scope.ADMIN, sid)
    check_customer_id(customer_id)
    meeting = await service.known_meetings.find(sid)
    workspace = service.settings.workspace(meeting.workspace)
    if workspace is None:
        raise UnknownMeeting(f"the workspace of meeting {sid} is no longer configured")
    done = await replace_link(
        service, meeting, customer_id, body.reason, caller.key_id, slug=body.slug
    )
    answer = replaced_claim_answer(sid, done.claim, done.is_new, customer_id, workspace)
    return Response(answer, headers={"cache-control": "no-store"}, media_type="application/json")


@router.delete(
    "/meetings/{sid}/claims/{customer_id:path}",
    status_code=204,
    responses=problem_answers(401, 403, 404, 422, 503),
)
async def forget_claim(sid: Sid, customer_id: str, caller: TheCaller, service: TheService) -> None:
    """Forget a customer: erase id, e-mail and metadata, and never use the link again."""
    caller.check(Scope.ADMIN, sid)
    check_customer_id(customer_id)
    await service.administration.forget(sid, customer_id, caller.key_id)


@router.get(
    "/links/{slug}",
    responses=problem_answers(401, 403, 404, 503),
)
async def show_link(slug: str, caller: TheCaller, service: TheService) -> LinkAnswer:
    """Show a link's state and history, as the ledger knows them."""
    caller.check(Scope.READ)
    found = await service.parts.ledger.search.link(slug) if is_slug(slug) else None
    if found is None:
        raise UnknownLink("linkpool has made no link with this slug")
    caller.check(Scope.READ, found.link.meeting_sid)
    bookings = await service.parts.ledger.bookings.of_link(slug)
    return LinkAnswer(**link_answer(found.link, bookings, found.replaced))
