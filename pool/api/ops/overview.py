"""Show the overview: one row per meeting, the most urgent first, updated live."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pool.api.ops.boards import Board
from pool.api.ops.rendering import HEADERS, render
from pool.api.ops.routing import views
from pool.api.ops.sessions import SignedIn, find_session
from pool.api.ops.state import Ops
from pool.errors import Unauthorized
from pool.operations.selection import Selection

router = views()

# Proxies must forward each event at once.
_STREAM_HEADERS = HEADERS | {"x-accel-buffering": "no"}


@router.get("/ops")
async def overview(request: Request, session: SignedIn) -> Response:
    """Show the pools, as a whole page that needs no script."""
    ops: Ops = request.app.state.ops
    selection = Selection.of(request.query_params)
    board = await ops.boards.board(await ops.reader.latest(), selection, session)
    return render(
        request,
        "overview.html",
        session,
        title="Pools",
        board=board,
        selection=selection,
        stream=selection.address("/ops/stream"),
    )


@router.get("/ops/stream")
async def stream(request: Request) -> Response:
    """Send changes of the overview as server-sent events until the page or session ends."""
    return StreamingResponse(
        _events(request), media_type="text/event-stream", headers=_STREAM_HEADERS
    )


async def _events(request: Request) -> AsyncIterator[bytes]:
    ops: Ops = request.app.state.ops
    selection = Selection.of(request.query_params)
    shown: Board | None = None
    try:
        find_session(request)  # before anything is read for this page
        async for snapshot in ops.reader.follow():
            # Checked each time, so that a key revoked meanwhile sees no more.
            session = find_session(request)
            board = await ops.boards.board(snapshot, selection, session)
            yield b"data: " + board.message_after(shown) + b"\n\n"
            shown = board
    except Unauthorized:
        yield b"event: signed-out\ndata:\n\n"
    else:
        yield b"event: stopping\ndata:\n\n"
