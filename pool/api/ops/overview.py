"""The overview: one row per meeting, the most urgent first."""

from __future__ import annotations

from fastapi import Request, Response

from pool.api.access import TheService
from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import SignedIn
from pool.status import URGENCY, statuses

router = views()


@router.get("/ops")
async def overview(request: Request, session: SignedIn, service: TheService) -> Response:
    """One row per meeting, the most urgent first."""
    meetings = [each for each in service.registry.all() if session.sees(each.sid)]
    found = await statuses(service.parts.store, None, meetings) if meetings else []
    found.sort(key=lambda status: (URGENCY[status.state], status.meeting.sid))
    return render(request, "overview.html", session, title="Pools", found=found)
