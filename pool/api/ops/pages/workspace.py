"""Show one workspace: what its provider does, and the pools that it fills, updated live."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.live.workspace_boards import parts_of
from pool.api.ops.session.sessions import SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.errors import UnknownWorkspace
from pool.operations.selection import Selection

router = views()


@router.get("/ops/workspaces/{workspace}")
async def workspace_view(
    workspace: str, request: Request, session: SignedIn, service: TheService
) -> Response:
    """Show whether a workspace's provider makes links, and if not, since when and why."""
    session.caller.check(Scope.READ)
    if workspace not in service.parts.makers:
        raise UnknownWorkspace("there is no workspace with this name in the settings")
    ops: Ops = request.app.state.ops
    snapshot = await ops.live.moment()
    selection = replace(Selection.of(request.query_params), workspace=workspace)
    return render(
        request,
        "workspace.html",
        session,
        title=f"Workspace {workspace}",
        workspace=workspace,
        parts=parts_of(snapshot, session, selection),
        selection=selection,
        may_try=session.may_act and session.caller.meetings is None,
        stream=selection.address("/ops/stream", view="workspace"),
    )
