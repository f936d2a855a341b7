"""Show the audit log: who did what to which meeting, when and why."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.sessions import SignedIn
from pool.api.routes.access import TheService

router = views()

PAGE = 50
_Text = Annotated[str, Query(max_length=100)]


@router.get("/ops/audit")
async def audit(
    request: Request,
    session: SignedIn,
    service: TheService,
    meeting: _Text = "",
    actor: _Text = "",
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """Show the entries, the newest first."""
    ledger = service.parts.ledger
    meeting, actor = meeting.strip(), actor.strip()
    entries = await ledger.audit.list(
        PAGE + 1,
        meeting or None,
        actor=actor or None,
        among=session.caller.meetings,
        before_id=before,
    )
    filters = {"meeting": meeting, "actor": actor}
    older = {**filters, "before": entries[PAGE - 1].id} if len(entries) > PAGE else None
    return render(
        request,
        "audit.html",
        session,
        title="Audit log",
        entries=entries[:PAGE],
        names={key.id: key.label for key in await ledger.keys.all() if key.label},
        meeting=meeting,
        actor=actor,
        first=before is None,
        filtered=bool(meeting or actor),
        older=urlencode({name: value for name, value in older.items() if value}) if older else "",
        newest=urlencode({name: value for name, value in filters.items() if value}),
    )
