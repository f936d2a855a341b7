"""Show the overview: one row per meeting, the most urgent first, updated live."""

from __future__ import annotations

from fastapi import Request, Response

from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.sessions import SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.operations.selection import Selection

router = views()


@router.get("/ops")
async def overview(request: Request, session: SignedIn, _service: TheService) -> Response:
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
    )
