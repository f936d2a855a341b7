"""Collect every route below /ops."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pool.api.ops.actions import adding, hooks, public_keys, settings, several, trying
from pool.api.ops.actions import meeting as meeting_actions
from pool.api.ops.frame import static_files
from pool.api.ops.frame.routing import views
from pool.api.ops.pages import (
    api_keys,
    audit,
    event,
    find,
    history,
    inbox,
    meeting,
    overview,
    palette,
    preferences,
    runbooks,
    sign_in,
    stream,
    workspace,
)
from pool.api.ops.session.sessions import SignedIn
from pool.errors import Unknown

_lost = views()


@_lost.get("/ops/{path:path}")
async def nowhere(path: str, _session: SignedIn) -> Response:
    """Raise Unknown, which shows that there is no such page."""
    raise Unknown(f"there is no page at /ops/{path}")


router = APIRouter(include_in_schema=False)
for _view in (
    static_files, sign_in, stream, overview, adding, meeting, meeting_actions, settings, several,
    trying, workspace, runbooks, public_keys, find, history, inbox, event, hooks, audit, api_keys,
    palette, preferences,
):  # fmt: skip
    router.include_router(_view.router)
router.include_router(_lost)  # stays last
