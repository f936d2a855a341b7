"""Serve meetings: their state, their settings, and what operators do to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from pool.access.api_keys import Caller, Scope
from pool.api.routes.access import Sid, TheActor, TheCaller, TheService
from pool.api.routes.bodies import (
    MeetingAnswer,
    MeetingChange,
    MeetingsAnswer,
    MeetingView,
    Reason,
    problem_answers,
)
from pool.api.service import Service
from pool.errors import LedgerError
from pool.model.meetings import Meeting
from pool.operations.status import MeetingStatus, statuses, urgency

Act = Callable[..., Awaitable[Meeting]]  # of Administration

router = APIRouter(
    prefix="/v1/meetings",
    tags=["meetings"],
    responses=problem_answers(401, 403, 404, 413, 422, 503),
)


@router.get("")
async def list_meetings(caller: TheCaller, service: TheService) -> MeetingsAnswer:
    """List all meetings this key may see, the most urgent first."""
    caller.check(Scope.READ)
    await service.known_meetings.refresh()
    meetings = [
        meeting
        for meeting in service.known_meetings.all()
        if caller.meetings is None or meeting.sid in caller.meetings
    ]
    found, counted = await _statuses(service, meetings)
    found.sort(key=urgency)
    return MeetingsAnswer(meetings=[MeetingView.of(each, counted=counted) for each in found])


@router.get("/{sid}")
async def show_meeting(sid: Sid, caller: TheCaller, service: TheService) -> MeetingAnswer:
    """Show one meeting: its settings, its fresh links, and its state with the reason."""
    caller.check(Scope.READ, sid)
    return await _answer(service, await service.known_meetings.latest(sid))


@router.put("/{sid}", responses={201: {"model": MeetingAnswer, "description": "A new meeting"}})
async def put_meeting(
    sid: Sid, change: MeetingChange, caller: TheActor, service: TheService, response: Response
) -> MeetingAnswer:
    """Add a meeting, or change its settings; those left out stay as they are."""
    caller.check(Scope.ADMIN, sid)
    meeting, created = await service.administration.put(
        sid, change.changes(), caller.key_id, limited=caller.limited
    )
    service.changed(meeting)
    response.status_code = 201 if created else 200
    return await _answer(service, meeting)


@router.post("/{sid}/pause")
async def pause(
    sid: Sid, caller: TheActor, service: TheService, body: Reason | None = None
) -> MeetingAnswer:
    """Stop top-up and claims of new links; customers who hold a link still get it."""
    caller.check(Scope.ADMIN, sid)
    meeting = await service.administration.pause(sid, _reason(body), caller.key_id)
    service.known_meetings.put(meeting)
    return await _answer(service, meeting)


@router.post("/{sid}/resume")
async def resume(
    sid: Sid, caller: TheActor, service: TheService, body: Reason | None = None
) -> MeetingAnswer:
    """End a pause; a blocked meeting is retried at once."""
    return await _retried(sid, caller, service, body, service.administration.resume)


@router.post("/{sid}/top-up")
async def top_up(
    sid: Sid, caller: TheActor, service: TheService, body: Reason | None = None
) -> MeetingAnswer:
    """Ask for a top-up now; a blocked meeting is retried at once."""
    return await _retried(sid, caller, service, body, service.administration.top_up)


async def _retried(
    sid: str, caller: Caller, service: Service, body: Reason | None, act: Act
) -> MeetingAnswer:
    """Perform an act after which the provider may be asked again, and have the pool filled."""
    caller.check(Scope.ADMIN, sid)
    meeting = await act(sid, _reason(body), caller.key_id, limited=caller.limited)
    service.changed(meeting)
    return await _answer(service, meeting)


@router.post("/{sid}/drain")
async def drain(
    sid: Sid, caller: TheActor, service: TheService, body: Reason | None = None
) -> MeetingAnswer:
    """Retire all fresh links. Unless the meeting is paused, top-up makes new ones."""
    caller.check(Scope.ADMIN, sid)
    meeting, retired = await service.administration.drain(sid, _reason(body), caller.key_id)
    answer = await _answer(service, meeting)
    answer.retired = retired
    return answer


def _reason(body: Reason | None) -> str:
    return body.reason if body else ""


async def _answer(service: Service, meeting: Meeting) -> MeetingAnswer:
    found, counted = await _statuses(service, [meeting])
    return MeetingAnswer(meeting=MeetingView.of(found[0], counted=counted))


async def _statuses(service: Service, meetings: list[Meeting]) -> tuple[list[MeetingStatus], bool]:
    """Return the statuses, and True if the ledger answered with its counts."""
    parts = service.parts
    if not meetings:
        return [], True
    try:
        return await statuses(parts.store, parts.ledger, meetings), True
    except LedgerError:
        return await statuses(parts.store, None, meetings), False
