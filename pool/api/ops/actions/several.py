"""Pause, resume or top up several pools at once: those chosen, or all that match the filter."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.live.boards import seen
from pool.api.ops.session.flash import failed
from pool.api.ops.session.forms import Action, Posted
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.errors import Forbidden, InvalidRequest
from pool.model.links import is_sid
from pool.model.meetings import Meeting
from pool.nudges import TOP_UP
from pool.operations.selection import Selection, matching
from pool.operations.several import ACTS, Act, act_on_several, needless, outcome_words
from pool.operations.status import MeetingStatus

router = views()


@router.post("/ops/several")
async def several(request: Request, action: Posted, service: TheService) -> Response:
    """Do one thing to several pools. Pausing more than one is confirmed on a page of its own."""
    ops: Ops = request.app.state.ops
    fields = action.form.fields
    # The address holds every filter of the list.
    selection = Selection.of(dict(parse_qsl(urlsplit(fields.get("selection", "")).query)))
    ops.live.forget()  # of a thousand pools a reading is seconds old, and would miss some
    snapshot = await ops.live.moment()
    found = seen(snapshot, action.session)
    # A reading may be two seconds old; actions of this process since then are known.
    known = {
        each.meeting.sid: replace(
            each, meeting=service.known_meetings.get(each.meeting.sid) or each.meeting
        )
        for each in found
    }
    place = selection.address()
    sids = _wanted(action, selection, found)
    try:
        act = _act(fields.get("act", ""))
        reason = action.reason
        if not sids:
            unknown = snapshot.store_problem and fields.get("scope") == "matching"
            why = "Redis does not answer, so which pools match is unknown" if unknown else ""
            raise InvalidRequest(why or "choose at least one pool")
    except InvalidRequest as error:
        return failed(request, place, f"Nothing was done: {'; '.join(error.errors)}.", fields)
    to_pause = [sid for sid in sids if not needless(act, known.get(sid))]
    if act == "pause" and len(to_pause) > 1 and fields.get("confirmed") != _digest(to_pause):
        return render(
            request,
            "several.html",
            action.session,
            title=f"Pause {len(to_pause):,} pools",
            sids=to_pause,
            statuses=known,
            digest=_digest(to_pause),
            again=bool(fields.get("confirmed")),
            chosen=fields.get("scope") != "matching",
            selection=selection,
            reason=reason,
        )
    return await outcome(request, place, _do(service, action, act, sids, known), action.form)


async def _do(
    service: Service, action: Action, act: Act, sids: list[str], known: dict[str, MeetingStatus]
) -> str:
    workspaces: set[str] = set()

    def changed(meeting: Meeting) -> None:
        service.known_meetings.put(meeting)
        workspaces.add(meeting.workspace)

    outcomes = await act_on_several(
        service.administration,
        act,
        sids,
        action.reason,
        action.caller.key_id,
        limited=action.caller.limited,
        known=known,
        changed=changed,
    )
    if act != "pause":
        for workspace in sorted(workspaces):
            service.nudges.send(TOP_UP, workspace=workspace)
    return outcome_words(act, outcomes)


def _wanted(action: Action, selection: Selection, found: list[MeetingStatus]) -> list[str]:
    """Return the meetings that the form is about. Raise Forbidden if the key lacks one of them."""
    if action.form.fields.get("scope") == "matching":
        sids = [each.meeting.sid for each in matching(selection, found)]
    else:
        sids = [sid for sid in action.form.every("sid") if is_sid(sid)]
    for sid in sids:
        action.caller.check(Scope.ADMIN, sid)
    if not sids and action.caller.meetings is not None:
        raise Forbidden("this key is limited to certain meetings, and the form names none of them")
    return sids


def _act(name: str) -> Act:
    if name not in ACTS:
        raise InvalidRequest("choose what to do: pause, resume or top up")
    return ACTS[name]


def _digest(sids: list[str]) -> str:
    """Return a digest of these meetings, so that exactly the confirmed ones are changed."""
    return hashlib.sha256(" ".join(sorted(sids)).encode()).hexdigest()[:16]
