"""Show one event of the inbox: its appointment, its match and why, and actions on it."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request, Response

from pool.access.api_keys import Scope
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.session.forms import Posted
from pool.api.ops.session.sessions import Session, SignedIn
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.errors import Forbidden, MalformedJson, UnknownEvent
from pool.ledger.audit import SHOWN
from pool.ledger.records import EventState, InboxEvent
from pool.ledger.search import Found
from pool.model.links import State
from pool.operations.event_story import story_of
from pool.operations.timelines import how_matched
from pool.providers import BookingEvent

router = views()

_CANDIDATES = 20
_WAITING = (EventState.UNMATCHED, EventState.DEAD)  # those that an operator can resolve


@router.get("/ops/inbox/{event_id}")
async def event(
    event_id: str, request: Request, session: SignedIn, service: TheService
) -> Response:
    """Show one event, without its booker's name and e-mail."""
    found = await _seen(service, session, event_id)
    return await _page(request, session, service, found, shown=False)


@router.post("/ops/inbox/{event_id}/show-booker")
async def show_booker(
    event_id: str, request: Request, action: Posted, service: TheService
) -> Response:
    """Show the event once with its booker and its body, and note in the audit who asked."""
    action.caller.check_everywhere(Scope.ADMIN)
    found = await _seen(service, action.session, event_id)
    await service.parts.ledger.audit.add(
        action.caller.key_id, SHOWN, found.meeting_sid, "", {"event": found.id}
    )
    return await _page(request, action.session, service, found, shown=True)


@router.post("/ops/inbox/{event_id}/replay")
async def replay(event_id: str, request: Request, action: Posted, service: TheService) -> Response:
    """Process an event again, now."""
    action.caller.check_everywhere(Scope.ADMIN)

    async def work() -> str:
        after = await service.parts.bookings.replay(
            event_id, action.caller.key_id, action.form.text("reason", label="Reason")
        )
        return f"Replayed. The event is {_what_became(after)}."

    return await outcome(request, f"/ops/inbox/{event_id}", work(), action.form)


@router.post("/ops/inbox/{event_id}/assign")
async def assign(event_id: str, request: Request, action: Posted, service: TheService) -> Response:
    """Assign an event to a link."""
    action.caller.check_everywhere(Scope.ADMIN)

    async def work() -> str:
        slug = action.form.text("slug", label="Link", required=True)
        after = await service.parts.bookings.assign(
            event_id, slug.rpartition("/")[2], action.caller.key_id, action.reason
        )
        return f"Assigned. The event is {_what_became(after)}."

    place = f"/ops/inbox/{event_id}"
    return await outcome(request, place, work(), action.form, section="assign")


async def _page(
    request: Request, session: Session, service: Service, found: InboxEvent, *, shown: bool
) -> Response:
    ledger = service.parts.ledger
    said = _said(service, found)
    may_act = may_act_on_events(session)
    workspace = service.settings.workspace(found.workspace)
    link = await ledger.links.get(found.slug) if found.slug else None
    sid = found.meeting_sid or (link.meeting_sid if link else None)
    values: dict[str, Any] = {"booker": said, "body": _pretty(found.body)} if shown else {}
    return render(
        request,
        "event.html",
        session,
        title=f"Event {found.event}",
        event=found,
        sid=sid if sid and service.known_meetings.get(sid) else None,
        may_act=may_act,
        shown=shown,
        readable=bool(found.body),
        story=await story_of(ledger, found, said, workspace.ref_field if workspace else None),
        candidates=await _candidates(service, found, said) if may_act else [],
        acts=await ledger.audit.of_events([found.id]),
        waiting=found.state in _WAITING,
        how_matched=how_matched,
        **values,
    )


def may_act_on_events(session: Session) -> bool:
    """Return True if this session may replay events and see who booked.

    As in the API, this takes a key for all meetings, since an event may concern any of them.
    """
    return session.may_act and session.caller.meetings is None


async def _seen(service: Service, session: Session, event_id: str) -> InboxEvent:
    found = await service.parts.ledger.inbox.get(event_id)
    if found is None:
        raise UnknownEvent("there is no event with this id in the inbox")
    if session.caller.meetings is not None:
        link = await service.parts.ledger.links.get(found.slug) if found.slug else None
        sid = link.meeting_sid if link else found.meeting_sid
        if sid is None or not session.sees(sid):
            raise Forbidden("this key may not see this event")
    return found


def _said(service: Service, event: InboxEvent) -> BookingEvent | None:
    provider = service.parts.providers.get(event.workspace)
    try:
        return provider.parse_event(event.body) if provider else None
    except MalformedJson:
        return None


async def _candidates(
    service: Service, event: InboxEvent, said: BookingEvent | None
) -> list[Found]:
    """Return the links that this booking may have used: those claimed with its e-mail."""
    if said is None or said.email is None or event.state not in _WAITING:
        return []
    sids = [each.sid for each in service.known_meetings.all() if each.workspace == event.workspace]
    found = await service.parts.ledger.search.links(said.email, sids, limit=_CANDIDATES)
    return [each for each in found if each.link.state in (State.CLAIMED, State.LAPSED)]


def _pretty(body: bytes) -> str:
    if not body:
        return ""
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except msgspec.MsgspecError:
        return body.decode("utf-8", "replace")


def _what_became(event: InboxEvent) -> str:
    why = event.reason or (event.last_error or "")
    return f"{event.state.value}{': ' + why if why else ''}"
