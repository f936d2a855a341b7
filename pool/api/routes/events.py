"""Receive webhooks from the provider, and serve the inbox that keeps them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from pool.access.api_keys import Scope
from pool.api.claim_path.answers import iso
from pool.api.http import problems
from pool.api.http.messages import address_of, response_of, wait_for_turn
from pool.api.routes.access import TheActor, TheCaller, TheService
from pool.api.routes.bodies import (
    Assignment,
    EventAnswer,
    EventsAnswer,
    EventView,
    ReceivedAnswer,
    Replay,
    ReplayAnswer,
    problem_answers,
)
from pool.errors import BadSignature
from pool.ledger.records import InboxEvent
from pool.nudges import SETTLE
from pool.providers.signatures import SIGNATURE_HEADER

router = APIRouter(prefix="/v1", tags=["events"])


@router.post(
    "/webhooks/{workspace}",
    status_code=202,
    response_model=ReceivedAnswer,
    responses=problem_answers(400, 401, 404, 408, 413, 429, 503),
)
@router.post(
    "/webhooks/{workspace}/",
    status_code=202,
    response_model=ReceivedAnswer,
    include_in_schema=False,
)
async def receive(
    workspace: str, request: Request, service: TheService
) -> ReceivedAnswer | Response:
    """Receive a signed booking event, with or without a slash at the end of the address.

    A repeat gets the same answer. An event that cannot be read gets it too, and is kept.
    """
    provider = service.parts.providers.get(workspace)
    if provider is not None and not provider.can_verify:
        return response_of(
            problems.render(
                problems.BY_NAME["webhooks-unconfigured"],
                "this workspace has no webhook secret, and unsigned events are never accepted",
                request.url.path,
            )
        )
    body = await request.body()
    signatures = request.headers.getlist(SIGNATURE_HEADER)
    address = address_of(request)
    try:
        event_id = await service.parts.bookings.receive(workspace, body, signatures)
    except BadSignature:
        service.doors.failed("webhook", address)
        if service.doors.sends_webhooks(address):  # the gate let it pass without a wait
            await wait_for_turn(request.scope, service.doors.turn(address))
        raise
    service.doors.genuine(address)
    service.nudges.send(SETTLE)
    return ReceivedAnswer(event_id=event_id)


@router.get("/events", responses=problem_answers(401, 403, 422, 503))
async def list_events(
    caller: TheCaller,
    service: TheService,
    state: Literal["pending", "settled", "unmatched", "ignored", "dead"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventsAnswer:
    """List the webhook inbox, newest first."""
    caller.check_everywhere(Scope.ADMIN)
    events = await service.parts.ledger.inbox.list(state, limit=limit)
    return EventsAnswer(events=[event_view(event) for event in events])


@router.post("/events/{event_id}/replay", responses=problem_answers(401, 403, 404, 409, 503))
async def replay(event_id: str, caller: TheActor, service: TheService) -> EventAnswer:
    """Process an event again now; the answer shows its new state."""
    caller.check_everywhere(Scope.ADMIN)
    event = await service.parts.bookings.replay(event_id, caller.key_id)
    return EventAnswer(event=event_view(event))


@router.post(
    "/events/replay", status_code=202, responses=problem_answers(400, 401, 403, 413, 422, 503)
)
async def replay_all(body: Replay, caller: TheActor, service: TheService) -> ReplayAnswer:
    """Have all events of a state processed again by the workers; repeating the call is harmless."""
    caller.check_everywhere(Scope.ADMIN)
    events = await service.parts.bookings.replay_dead(caller.key_id, body.reason)
    service.nudges.send(SETTLE)
    return ReplayAnswer(replayed=events)


@router.post(
    "/events/{event_id}/assign", responses=problem_answers(400, 401, 403, 404, 409, 413, 422, 503)
)
async def assign(
    event_id: str, body: Assignment, caller: TheActor, service: TheService
) -> EventAnswer:
    """Assign an event that matched no link to the given link; repeating the call is harmless."""
    caller.check_everywhere(Scope.ADMIN)
    event = await service.parts.bookings.assign(event_id, body.slug, caller.key_id, body.reason)
    return EventAnswer(event=event_view(event))


def event_view(event: InboxEvent) -> EventView:
    """Return an event without its body, which may hold personal data."""
    shown = {name: getattr(event, name) for name in EventView.model_fields}
    return EventView(**shown | {"received_at": iso(event.received_at), "state": event.state.value})
