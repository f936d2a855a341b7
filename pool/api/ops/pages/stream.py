"""Send what changes on pages as server-sent events: the one live channel of a browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pool.api.ops.frame.rendering import HEADERS
from pool.api.ops.frame.routing import views
from pool.api.ops.live.watched import QUIET, watched
from pool.api.ops.session.sessions import find_session
from pool.api.ops.state import Ops
from pool.errors import Forbidden, Unauthorized

router = views()

# Proxies must forward each event at once.
_STREAM_HEADERS = HEADERS | {"x-accel-buffering": "no"}
# A stream is one request, so a proxy names its viewer only once. After this time the page opens a
# new one, and a person whom the proxy no longer lets in sees no more.
PERSON_SECONDS = 300.0


@router.get("/ops/stream")
async def stream(request: Request) -> Response:
    """Send changes of views as server-sent events until the pages or the session end.

    The query names one view; or several, each as the text of a parameter `of`. Events of several
    views carry the number of theirs as the event's id: a browser opens few connections to a
    server, so all its pages share one. The view `quiet` stands for all pages that nobody sees.
    """
    return StreamingResponse(
        _events(request), media_type="text/event-stream", headers=_STREAM_HEADERS
    )


async def _events(request: Request) -> AsyncIterator[bytes]:
    ops: Ops = request.app.state.ops
    queries = request.query_params.getlist("of")
    shown = [watched(ops, query, b"id: %d\n" % number) for number, query in enumerate(queries)] or [
        watched(ops, request.url.query)
    ]
    began_at = time.monotonic()
    try:
        find_session(request)  # before anything is read for this page
        async for snapshot in ops.live.follow(unseen=set(queries) == {QUIET}):
            # Checked each time, so that a key revoked meanwhile sees no more.
            session = find_session(request)
            if news := b"".join(
                await asyncio.gather(*(each.news(snapshot, session) for each in shown))
            ):
                yield news
            if session.role and time.monotonic() - began_at > PERSON_SECONDS:
                yield b"event: again\ndata:\n\n"
                return
    except (Unauthorized, Forbidden):
        yield b"event: signed-out\ndata:\n\n"
    else:
        yield b"event: stopping\ndata:\n\n"
    finally:
        for each in shown:
            await each.close()
