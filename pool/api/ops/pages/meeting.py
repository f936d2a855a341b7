"""Show one meeting's pool, now and in the past."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.actions.settings_form import problems_of, shown
from pool.api.ops.actions.settings_words import changes_in_words
from pool.api.ops.charts.compose import rows
from pool.api.ops.charts.earlier import Earlier, chosen
from pool.api.ops.charts.windows import BY_NAME, DEFAULT, Window
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.live.pasts import Past
from pool.api.ops.pages.charted import charted
from pool.api.ops.pages.csv_files import csv_answer
from pool.api.ops.pages.link_shares import funnel, shares, withdrawn
from pool.api.ops.pages.meeting_without_redis import (
    ACTS_SHOWN,
    INCIDENTS_SHOWN,
    meeting_without_redis,
)
from pool.api.ops.session.flash import flash_of
from pool.api.ops.session.forms import Form
from pool.api.ops.session.sessions import Session, SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import Sid, TheService
from pool.api.service import Service
from pool.errors import LedgerError, StoreError
from pool.ledger.records import AuditEntry, PublicKey
from pool.model.incidents import What, together
from pool.model.meetings import Meeting
from pool.operations.advice import suggestions
from pool.operations.status import MeetingStatus, statuses
from pool.operations.undo import undoable

log = structlog.get_logger()

router: APIRouter = views()

_AGE_EDGES_SECONDS = (60, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400)
_AGE_WORDS = (
    "under 1 min", "1 to 10 min", "10 to 60 min", "1 to 6 h", "6 to 24 h", "1 to 7 days", "older",
)  # fmt: skip


@router.get("/ops/meetings/{sid}")
async def meeting(
    sid: Sid, request: Request, session: SignedIn, service: TheService,
    span: str = "hour", compare: str = "",
) -> Response:  # fmt: skip
    """Show everything about one meeting; while Redis is silent, what the ledger knows of it."""
    session.caller.check(Scope.READ, sid)
    ops: Ops = request.app.state.ops
    window, compared = BY_NAME.get(span, DEFAULT), chosen(compare)
    if not ops.live.is_silent(What.REDIS):
        try:
            return await _whole(sid, request, session, service, window, compared)
        except StoreError as error:
            log.warning("a meeting is shown without Redis", reason=str(error))
    return await meeting_without_redis(sid, request, session, service, window, compared)


async def _whole(
    sid: str, request: Request, session: Session, service: Service,
    window: Window, compared: tuple[Earlier, ...],
) -> Response:  # fmt: skip
    ops: Ops = request.app.state.ops
    found = await service.known_meetings.latest(sid)
    status, acts, public_keys = await _from_ledger(service, found)
    past, problem = await _past(ops, sid, window)
    before = await ops.pasts.before(sid, window, compared)
    last = await _undoable(service, found)
    stock = service.parts.store.stock
    by_pool = [await stock.ages(pool, _AGE_EDGES_SECONDS) for pool in found.pools]
    ages = [sum(counts) for counts in zip(*by_pool, strict=True)]
    return render(
        request,
        "meeting.html",
        session,
        title=sid,
        sid=sid,
        pool=status,
        parts=await ops.meeting_boards.parts(status, window, past, before),
        past_problem=problem,
        rows=rows(past.series, window, past.counted) if past and past.series.samples else [],
        incidents=together(list(past.incidents or ()))[:INCIDENTS_SHOWN] if past else [],
        **charted(window, compared, before, view="meeting", sid=sid),
        funnel=funnel(status.counts),
        withdrawn=withdrawn(status.counts),
        ages=shares(zip(_AGE_WORDS, ages, strict=True)),
        settings=shown(found),
        problems=_problems(request, found),
        suggestions=suggestions(status, datetime.now(UTC)),
        undoable=last,
        undoable_words=changes_in_words(last.before or {}, last.detail) if last else [],
        public_keys=public_keys,
        acts=acts,
    )


@router.get("/ops/meetings/{sid}/history.csv")
async def history_csv(
    sid: Sid, request: Request, session: SignedIn, span: str = "hour", compare: str = ""
) -> Response:
    """Return the meeting's past as comma-separated values, a line per stretch of the charts."""
    session.caller.check(Scope.READ, sid)
    ops: Ops = request.app.state.ops
    window = BY_NAME.get(span, DEFAULT)
    return await csv_answer(ops.pasts, sid, window, chosen(compare), sid)


async def _past(ops: Ops, sid: str, window: Window) -> tuple[Past | None, str]:
    """Return the meeting's past, and why a part of it is missing."""
    try:
        past = await ops.pasts.of(sid, window)
    except LedgerError:
        return None, "The ledger does not answer, and only it has this range."
    return past, "" if past.incidents is not None else "The ledger does not answer: no incidents."


def _problems(request: Request, meeting: Meeting) -> dict[str, str]:
    """Return what was wrong with the settings that were just refused, by field."""
    flash = flash_of(request)
    typed = flash.typed_into(f"/ops/meetings/{meeting.sid}/settings") if flash else {}
    return problems_of(Form(typed), meeting) if typed else {}


async def _undoable(service: Service, meeting: Meeting) -> AuditEntry | None:
    try:
        return await undoable(service.parts.ledger, meeting)
    except LedgerError:
        return None


async def _from_ledger(
    service: Service, meeting: Meeting
) -> tuple[MeetingStatus, list[AuditEntry] | None, list[PublicKey] | None]:
    """Return the status, the latest actions and the valid public keys.

    While the ledger does not answer, the status has no counts, and the others are None.
    """
    store, ledger = service.parts.store, service.parts.ledger
    try:
        [status] = await statuses(store, ledger, [meeting])
        keys = [
            key
            for key in await ledger.public_keys.all()
            if key.meeting_sid == meeting.sid and key.revoked_at is None
        ]
        return status, await ledger.audit.list(ACTS_SHOWN, meeting.sid), keys
    except LedgerError:
        [status] = await statuses(store, None, [meeting])
        return status, None, None
