"""Perform actions on one meeting: pause, resume, top up, drain."""

from __future__ import annotations

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Action, Posted
from pool.api.ops.session.sessions import SignedIn
from pool.api.routes.access import Sid, TheService
from pool.api.routes.meetings import Act
from pool.api.service import Service
from pool.errors import InvalidRequest
from pool.operations.words import count_words

router = views()


@router.post("/ops/meetings/{sid}/pause")
async def pause(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Stop top-up and new claims."""
    action.caller.check(Scope.ADMIN, sid)

    async def work() -> str:
        reason = action.reason
        service.known_meetings.put(
            await service.administration.pause(sid, reason, action.caller.key_id)
        )
        return "Paused. Customers who hold a link still get it; nobody else gets one."

    return await outcome(request, _page(sid), work(), action.form)


@router.post("/ops/meetings/{sid}/resume")
async def resume(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """End a pause or a block."""
    said = "Resumed. Claims are answered again, and a top-up was requested."
    return await _fill(sid, request, action, service, service.administration.resume, said)


@router.post("/ops/meetings/{sid}/top-up")
async def top_up(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Request a top-up now."""
    said = "Top-up requested. A worker makes links now, as fast as the budget allows."
    return await _fill(sid, request, action, service, service.administration.top_up, said)


async def _fill(
    sid: str, request: Request, action: Action, service: Service, act: Act, said: str
) -> Response:
    """Perform an act after which the provider may be asked again, and have the pool filled."""
    caller = action.caller
    caller.check(Scope.ADMIN, sid)

    async def work() -> str:
        found = await act(sid, action.reason, caller.key_id, limited=caller.limited)
        service.changed(found)
        return said

    return await outcome(request, _page(sid), work(), action.form)


@router.get("/ops/meetings/{sid}/drain")
async def drain_form(
    sid: Sid, request: Request, session: SignedIn, service: TheService
) -> Response:
    """Show what a drain would do, and ask for the SID."""
    session.caller.check(Scope.ADMIN, sid)
    return render(
        request,
        "drain.html",
        session,
        title=f"Drain {sid}",
        sid=sid,
        found=await service.known_meetings.latest(sid),
        drainable=await service.administration.drainable(sid),
    )


@router.post("/ops/meetings/{sid}/drain")
async def drain(sid: Sid, request: Request, action: Posted, service: TheService) -> Response:
    """Retire all fresh links, if the SID was typed."""
    action.caller.check(Scope.ADMIN, sid)
    typed = action.form.fields.get("typed", "").strip()

    async def work() -> str:
        reason = action.reason
        if typed != sid:
            raise InvalidRequest("what you typed is not the SID of this meeting")
        _, retired = await service.administration.drain(sid, reason, action.caller.key_id)
        return f"Drained: {count_words(retired, 'link')} retired."

    url = _page(sid) if typed == sid else f"{_page(sid)}/drain"
    return await outcome(request, url, work(), action.form)


def _page(sid: str) -> str:
    return f"/ops/meetings/{sid}"
