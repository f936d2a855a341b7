"""Try a provider from the page: for one meeting, or for a whole workspace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.routing import views
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import Posted
from pool.api.routes.access import Sid, TheService
from pool.api.service import Service
from pool.errors import UnknownWorkspace
from pool.nudges import TOP_UP
from pool.operations.trying import Answer, Trial

router = views()

Work = Callable[[], Coroutine[Any, Any, Answer]]


@router.post("/ops/meetings/{sid}/try")
async def try_meeting(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Ask the provider for a link of this meeting now, even if it is blocked."""
    action.caller.check(Scope.ADMIN, sid)
    meeting = await service.known_meetings.latest(sid)

    trial = _trial(service, meeting.workspace)

    async def work() -> Answer:
        answer = await trial.meeting(meeting)
        note = {"answer": answer.words}
        await service.parts.ledger.audit.add(action.caller.key_id, "try", sid, "", note)
        service.nudges.send(TOP_UP, workspace=meeting.workspace)
        return answer

    return await _said(request, f"/ops/meetings/{sid}", work)


@router.post("/ops/workspaces/{workspace}/try")
async def try_workspace(
    workspace: str, request: Request, action: Posted, service: TheService
) -> Response:
    """Ask the provider for its list of meetings now, and then for a link."""
    action.caller.check_everywhere(Scope.ADMIN)
    _known(service, workspace)

    trial = _trial(service, workspace)

    async def work() -> Answer:
        answer = await trial.workspace()
        note = {"workspace": workspace, "answer": answer.words}
        await service.parts.ledger.audit.add(action.caller.key_id, "try", None, "", note)
        service.nudges.send(TOP_UP, workspace=workspace)
        return answer

    return await _said(request, f"/ops/workspaces/{workspace}", work)


async def _said(request: Request, place: str, work: Work) -> Response:
    """Return a redirect that shows the answer, as a success only if links are made."""
    bad: list[Answer] = []

    async def words() -> str:
        answer = await work()
        if not answer.works:
            bad.append(answer)
        return answer.words

    response = await outcome(request, place, words())
    return failed(request, place, bad[0].words) if bad else response


def _known(service: Service, workspace: str) -> None:
    if workspace not in service.parts.makers:
        raise UnknownWorkspace("there is no workspace with this name in the settings")


def _trial(service: Service, workspace: str) -> Trial:
    _known(service, workspace)
    parts = service.parts
    return Trial(parts.store, parts.ledger, parts.makers[workspace])
