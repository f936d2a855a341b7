"""Try a provider from the page: for one meeting, or for a whole workspace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.routing import views
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import Action, Posted
from pool.api.routes.access import Sid, TheService
from pool.api.service import Service
from pool.errors import UnknownWorkspace
from pool.nudges import TOP_UP
from pool.operations.trying import Answer, Trial

router = views()

Ask = Callable[[], Coroutine[Any, Any, Answer]]


@router.post("/ops/meetings/{sid}/try")
async def try_meeting(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Ask the provider for a link of this meeting now, even if it is blocked."""
    action.caller.check(Scope.ADMIN, sid)
    meeting = await service.known_meetings.latest(sid)
    trial = _trial(service, meeting.workspace)

    async def ask() -> Answer:
        answer = await trial.meeting(meeting)
        await _note(service, action, meeting.workspace, answer, sid)
        return answer

    return await _said(request, f"/ops/meetings/{sid}", ask)


@router.post("/ops/workspaces/{workspace}/try")
async def try_workspace(
    workspace: str, request: Request, action: Posted, service: TheService
) -> Response:
    """Ask the provider for its list of meetings now, and then for a link."""
    action.caller.check_everywhere(Scope.ADMIN)
    trial = _trial(service, workspace)

    async def ask() -> Answer:
        answer = await trial.workspace()
        await _note(service, action, workspace, answer, None)
        return answer

    return await _said(request, f"/ops/workspaces/{workspace}", ask)


def _trial(service: Service, workspace: str) -> Trial:
    parts = service.parts
    if workspace not in parts.makers:
        raise UnknownWorkspace("there is no workspace with this name in the settings")
    return Trial(parts.store, parts.ledger, parts.makers[workspace])


async def _note(
    service: Service, action: Action, workspace: str, answer: Answer, sid: str | None
) -> None:
    """Note the answer in the audit log, and have a worker make links."""
    note = {"answer": answer.words} if sid else {"workspace": workspace, "answer": answer.words}
    await service.parts.ledger.audit.add(action.caller.key_id, "try", sid, "", note)
    service.nudges.send(TOP_UP, workspace=workspace)


async def _said(request: Request, place: str, ask: Ask) -> Response:
    """Return a redirect that shows the answer, as a success only if links are made."""
    answers: list[Answer] = []

    async def words() -> str:
        answers.append(await ask())
        return answers[0].words

    response = await outcome(request, place, words())
    if answers and not answers[0].works:
        return failed(request, place, answers[0].words)
    return response
