"""Collect every route below /ops."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pool.api.ops import (
    adding,
    api_keys,
    audit,
    event,
    find,
    history,
    hooks,
    inbox,
    meeting,
    meeting_acts,
    overview,
    palette,
    preferences,
    public_keys,
    runbooks,
    settings_acts,
    several,
    sign_in,
    static_files,
    stream,
    trying,
)
from pool.api.ops.routing import views
from pool.api.ops.sessions import SignedIn
from pool.errors import Unknown

_lost = views()


@_lost.get("/ops/{path:path}")
async def nowhere(path: str, _session: SignedIn) -> Response:
    """Raise Unknown, which shows that there is no such page."""
    raise Unknown(f"there is no page at /ops/{path}")


router = APIRouter(include_in_schema=False)
for _view in (
    static_files, sign_in, stream, overview, adding, meeting, meeting_acts, settings_acts, several,
    trying, runbooks, public_keys, find, history, inbox, event, hooks, audit, api_keys,
    palette, preferences,
):  # fmt: skip
    router.include_router(_view.router)
router.include_router(_lost)  # stays last
