"""Show the overview: one row per meeting, the most urgent first, updated live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request, Response

from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import Session, SignedIn
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.errors import LedgerError
from pool.model.incidents import Incident, together
from pool.operations.selection import Selection

if TYPE_CHECKING:
    from pool.api.ops.state import Ops

router = views()

_INCIDENTS_SHOWN = 5
_INCIDENTS_READ = 60  # of which many may be about one event, or not for this viewer


@router.get("/ops")
async def overview(request: Request, session: SignedIn, service: TheService) -> Response:
    """Show the pools, as a whole page that needs no script."""
    ops: Ops = request.app.state.ops
    selection = Selection.of(request.query_params)
    board = await ops.boards.board(await ops.live.moment(), selection, session)
    return render(
        request,
        "overview.html",
        session,
        title="Pools",
        board=board,
        frame=board,
        alarm=board.alarm,
        selection=selection,
        stream=selection.address("/ops/stream", view="pools"),
        own_live=True,
        incidents=await _latest(service, session),
    )


async def _latest(service: Service, session: Session) -> list[Incident]:
    """Return the latest incidents that concern this viewer; none while the ledger is away."""
    try:
        found = await service.parts.ledger.incidents.latest(_INCIDENTS_READ)
    except LedgerError:
        return []
    return together(visible(found, session))[:_INCIDENTS_SHOWN]


def visible(found: list[Incident], session: Session) -> list[Incident]:
    """Return the incidents about meetings that the session may see."""
    return [
        each for each in found if each.sids is None or any(session.sees(sid) for sid in each.sids)
    ]
