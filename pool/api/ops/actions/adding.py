"""Add a meeting from the page, by choosing from the provider's list."""

from __future__ import annotations

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Posted
from pool.api.ops.session.sessions import SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.errors import InvalidRequest
from pool.model.links import is_sid

router = views()


@router.get("/ops/add")
async def choose(request: Request, session: SignedIn, service: TheService) -> Response:
    """Show the meetings that the providers list and that have no pool yet."""
    ops: Ops = request.app.state.ops
    session.caller.check_everywhere(Scope.ADMIN)
    return render(
        request,
        "add.html",
        session,
        title="Add a meeting",
        offers=await ops.lists.offers(service),
        several=len(service.settings.workspaces) > 1,
        workspaces=list(service.settings.workspaces),
    )


@router.post("/ops/add")
async def add(request: Request, action: Posted, service: TheService) -> Response:
    """Make a pool for a meeting, and have it filled."""
    action.caller.check_everywhere(Scope.ADMIN)
    sid = action.form.fields.get("sid", "").strip()
    place = f"/ops/meetings/{sid}" if is_sid(sid) else "/ops/add"

    async def work() -> str:
        if not is_sid(sid):
            raise InvalidRequest("a meeting's SID is 1 to 64 letters, digits, - and _")
        if service.known_meetings.get(sid) is not None:
            raise InvalidRequest(f"{sid} has a pool already")
        workspace = action.form.text("workspace", label="Workspace", required=True)
        found, _ = await service.administration.put(
            sid,
            {"workspace": workspace},
            action.caller.key_id,
            reason=action.form.text("reason", label="Reason"),
        )
        service.changed(found)
        return "Added. Its first links are being made; if the provider refuses, it says so here."

    return await outcome(request, place, work(), action.form)
