"""Send what changes on a page as server-sent events: the one live channel of every view."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pool.access.api_keys import Scope
from pool.api.ops.charts.earlier import chosen
from pool.api.ops.charts.windows import BY_NAME, DEFAULT
from pool.api.ops.frame.rendering import HEADERS
from pool.api.ops.frame.routing import views
from pool.api.ops.live.boards import Board
from pool.api.ops.session.sessions import Session, find_session
from pool.errors import Forbidden, Unauthorized
from pool.operations.inbox_selection import InboxSelection
from pool.operations.selection import Selection
from pool.operations.snapshot import Snapshot

if TYPE_CHECKING:
    from pool.api.ops.state import Ops

router = views()

# Proxies must forward each event at once.
_STREAM_HEADERS = HEADERS | {"x-accel-buffering": "no"}
# Now and then a page without a list gets all its parts again, in case it has lost some.
WHOLE_EVERY = 10
# A stream is one request, so a proxy names its viewer only once. After this time the page opens a
# new one, and a person whom the proxy no longer lets in sees no more.
PERSON_SECONDS = 300.0


@router.get("/ops/stream")
async def stream(request: Request) -> Response:
    """Send changes of a view as server-sent events until the page or session ends."""
    return StreamingResponse(
        _events(request), media_type="text/event-stream", headers=_STREAM_HEADERS
    )


async def _events(request: Request) -> AsyncIterator[bytes]:
    ops: Ops = request.app.state.ops
    shown: Board | None = None
    told, began_at = 0, time.monotonic()
    try:
        find_session(request)  # before anything is read for this page
        async for snapshot in ops.live.follow():
            # Checked each time, so that a key revoked meanwhile sees no more.
            session = find_session(request)
            board = await _board(request, snapshot, session)
            yield b"data: " + board.message_after(shown) + b"\n\n"
            if session.role and time.monotonic() - began_at > PERSON_SECONDS:
                yield b"event: again\ndata:\n\n"
                return
            shown, told = board, told + 1
            if not board.rows and told % WHOLE_EVERY == 0:
                shown = None
    except (Unauthorized, Forbidden):
        yield b"event: signed-out\ndata:\n\n"
    else:
        yield b"event: stopping\ndata:\n\n"


async def _board(request: Request, snapshot: Snapshot, session: Session) -> Board:
    ops: Ops = request.app.state.ops
    asked = request.query_params
    match asked.get("view", ""):
        case "pools":
            return await ops.boards.board(snapshot, Selection.of(asked), session)
        case "meeting":
            sid = asked.get("sid", "")
            session.caller.check(Scope.READ, sid)
            window = BY_NAME.get(asked.get("span", ""), DEFAULT)
            frame = await ops.boards.frame(snapshot, session)
            compared = chosen(asked.get("compare", ""))
            return await ops.meeting_boards.board(snapshot, frame, sid, window, compared)
        case "inbox":
            selection = InboxSelection.of(request.url.query)
            frame = await ops.boards.frame(snapshot, session)
            return await ops.inbox_boards.board(snapshot, frame, selection, session)
        case _:
            return await ops.boards.frame(snapshot, session)
