"""Show what the ledger alone knows of a meeting, while Redis does not answer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import structlog
from fastapi import Request, Response

from pool.api.ops.actions.settings_form import shown
from pool.api.ops.charts.compose import charts
from pool.api.ops.charts.earlier import Earlier
from pool.api.ops.charts.windows import WINDOWS, Window
from pool.api.ops.frame.rendering import render
from pool.api.ops.live.pasts import incidents_of
from pool.api.ops.pages.link_shares import funnel, withdrawn
from pool.api.ops.session.sessions import Session
from pool.api.ops.state import Ops
from pool.api.service import Service
from pool.errors import LedgerError, StoreError
from pool.ledger.deadline import within
from pool.model.incidents import What, together

log = structlog.get_logger()

ACTS_SHOWN = 6
INCIDENTS_SHOWN = 20
_T = TypeVar("_T")


async def meeting_without_redis(
    sid: str, request: Request, session: Session, service: Service,
    window: Window, compared: tuple[Earlier, ...],
) -> Response:  # fmt: skip
    """Show its settings, what became of its links, incidents and actions; no level and no rate.

    Raise UnknownMeeting; or LedgerUnavailable, where no part knows the meeting.
    """
    ops: Ops = request.app.state.ops
    ledger = service.parts.ledger
    found = await service.known_meetings.find(sid)
    counts = await _or_none(ledger.counts.of(sid))
    acts = await _or_none(ledger.audit.list(ACTS_SHOWN, sid))
    incidents = await incidents_of(ledger, window)
    past = None
    if not window.in_redis:
        try:
            past = await ops.pasts.of(sid, window)
        except (LedgerError, StoreError) as error:
            log.warning("a past not read", reason=str(error))
    return render(
        request,
        "meeting_without_redis.html",
        session,
        title=sid,
        status=503,
        sid=sid,
        silent_part=What.REDIS,
        lacking="How many links are ready, how long they last and how fast they are claimed is "
        "kept there. What the ledger knows is below.",
        windows=WINDOWS,
        window=window,
        compared=compared,
        charts=charts(
            past.series, window, counted=past.counted, incidents=past.incidents or (), levels=False
        )
        if past
        else (),
        funnel=funnel(counts) if counts is not None else [],
        withdrawn=withdrawn(counts or {}),
        meeting=found,
        settings=shown(found),
        incidents=None
        if incidents is None
        else together([each for each in incidents if each.concerns(sid)])[:INCIDENTS_SHOWN],
        acts=acts,
    )


async def _or_none(asked: Awaitable[_T]) -> _T | None:
    """Return what the ledger answers, or None while it is silent, too."""
    try:
        with within():
            return await asked
    except LedgerError as error:
        log.warning("a page lacks what the ledger knows", reason=str(error))
        return None
