"""Try a provider from the page: for one meeting, or for a whole workspace."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.live.boards import seen
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import Posted
from pool.api.ops.session.sessions import SignedIn
from pool.api.routes.access import Sid, TheService
from pool.api.service import Service
from pool.errors import UnknownWorkspace
from pool.model.times import from_ms
from pool.nudges import TOP_UP
from pool.operations.trying import Answer, Trial

if TYPE_CHECKING:
    from pool.api.ops.state import Ops

router = views()


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

    return await _said(request, f"/ops/meetings/{sid}", work())


@router.get("/ops/workspaces/{workspace}")
async def workspace_view(
    workspace: str, request: Request, session: SignedIn, service: TheService
) -> Response:
    """Show whether a workspace's provider makes links, and if not, since when and why."""
    session.caller.check(Scope.READ)
    _known(service, workspace)
    ops: Ops = request.app.state.ops
    snapshot = await ops.live.moment()
    health = next((each for each in snapshot.workspaces if each.name == workspace), None)
    block = health.block if health else None
    pools = [each for each in seen(snapshot, session) if each.meeting.workspace == workspace]
    return render(
        request,
        "workspace.html",
        session,
        title=f"Workspace {workspace}",
        workspace=workspace,
        health=health,
        block=block,
        since=from_ms(block.since_ms) if block else None,
        again=from_ms(block.probe_at_ms) if block else None,
        is_due=bool(block) and from_ms(block.probe_at_ms) <= datetime.now(UTC) if block else False,
        pools=pools,
        may_try=session.may_act and session.caller.meetings is None,
    )


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

    return await _said(request, f"/ops/workspaces/{workspace}", work())


async def _said(request: Request, place: str, work: Awaitable[Answer]) -> Response:
    """Return a redirect that shows the answer, as a success only if links are made."""
    bad: list[Answer] = []

    async def words() -> str:
        answer = await work
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
