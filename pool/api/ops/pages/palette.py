"""Find meetings by name for the palette."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from fastapi import Query, Request, Response

from pool.api.ops.frame.rendering import HEADERS
from pool.api.ops.frame.routing import views
from pool.api.ops.live.boards import seen
from pool.api.ops.session.sessions import SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.model.meetings import Meeting

router = views()

_SHOWN = 8


@router.get("/ops/palette.json")
async def meetings(
    request: Request,
    session: SignedIn,
    service: TheService,
    q: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """Return the meetings whose SID or name contains `q`; without it, the most urgent."""
    ops: Ops = request.app.state.ops
    known = seen(ops.live.known, session)
    states = {each.meeting.sid: each.state for each in known}
    names = ops.lists.names(service)
    if q.strip():
        mine = (each for each in service.known_meetings.all() if session.sees(each.sid))
        found = matching(q, mine, names)[:_SHOWN]
    else:
        found = [each.meeting for each in known][:_SHOWN]
    body = [
        {
            "sid": each.sid,
            "name": names.get(each.sid, ""),
            "workspace": each.workspace,
            "state": states.get(each.sid, ""),  # empty while it is not known
        }
        for each in found
    ]
    return Response(
        msgspec.json.encode({"meetings": body}), headers=HEADERS, media_type="application/json"
    )


def matching(text: str, found: Iterable[Meeting], names: Mapping[str, str]) -> list[Meeting]:
    """Return the meetings that a text names, the closest first.

    A beginning is closer than a middle, and a SID is closer than a name.
    """
    text = text.strip().casefold()

    def distance(each: Meeting) -> int:
        sid, name = each.sid.casefold(), names.get(each.sid, "").casefold()
        tests = (sid == text, sid.startswith(text), name.startswith(text), text in sid)
        return next((at for at, true in enumerate(tests) if true), 4 if text in name else 5)

    near = [(distance(each), each.sid, each) for each in found]
    return [each for far, _, each in sorted(near, key=lambda one: one[:2]) if far < 5]
