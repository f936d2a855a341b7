"""Show the inbox: booking events, why they matched or not, and actions on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import Query, Request, Response

from pool.access.api_keys import Scope
from pool.api.http.mount import url
from pool.api.ops.acting import outcome
from pool.api.ops.forms import Posted
from pool.api.ops.rendering import render
from pool.api.ops.routing import views
from pool.api.ops.sessions import Session, SignedIn
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.bookings.reconcile import RECONCILED
from pool.errors import Forbidden, MalformedJson, StoreError, UnknownEvent
from pool.ledger.records import EventState, InboxEvent
from pool.ledger.search import Found
from pool.model.links import State
from pool.model.outcomes import EVERYWHERE
from pool.nudges import SETTLE
from pool.operations.timelines import how_matched
from pool.operations.words import count_words
from pool.providers import BookingEvent
from pool.store.records import Span

router = views()

PAGE = 50
_CANDIDATES = 20
_RECENT = 200  # events among which the last webhook is looked for
_WAITING = (EventState.UNMATCHED, EventState.DEAD)  # those that an operator can resolve
_COUNTED = (EventState.PENDING, *_WAITING)  # the others are too many to count each time


@dataclass(frozen=True, slots=True)
class HookHealth:
    """Report on the webhooks of one workspace, as far as anything is known of them."""

    workspace: str
    address: str  # to be pasted at the provider
    can_verify: bool
    received_at: datetime | None  # the last one; None: none that is kept
    reconciled_at: datetime | None  # when the provider was last asked for missed bookings


@router.get("/ops/inbox")
async def inbox(
    request: Request,
    session: SignedIn,
    service: TheService,
    state: EventState | None = None,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """Show events, the newest first."""
    kept = service.parts.ledger.inbox
    everywhere = session.caller.meetings is None
    events = await kept.list(
        state, among=session.caller.meetings, limit=PAGE + 1, offset=(page - 1) * PAGE
    )
    return render(
        request,
        "inbox.html",
        session,
        title="Inbox",
        events=events[:PAGE],
        state=state,
        states=list(EventState),
        counts={each: await kept.count(each) for each in _COUNTED} if everywhere else {},
        hooks=await _hooks(request, service) if everywhere else [],
        refused=await _refused(service) if everywhere else None,
        may_replay=_may_act(session),
        page=page,
        more=len(events) > PAGE,
        how_matched=how_matched,
    )


@router.get("/ops/inbox/{event_id}")
async def event(
    event_id: str, request: Request, session: SignedIn, service: TheService
) -> Response:
    """Show one event. Personal data is shown only to callers who may assign the event."""
    found = await _seen(service, session, event_id)
    may_act = _may_act(session)
    said = _said(service, found) if may_act else None
    return render(
        request,
        "event.html",
        session,
        title=f"Event {found.event}",
        event=found,
        may_act=may_act,
        said=said,
        body=_pretty(found.body) if may_act else "",
        candidates=await _candidates(service, found, said),
        acts=await service.parts.ledger.audit.of_events([found.id]),
        waiting=found.state in _WAITING,
        how_matched=how_matched,
    )


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

    return await outcome(request, f"/ops/inbox/{event_id}", work(), action.form)


@router.post("/ops/inbox/replay-dead")
async def replay_dead(request: Request, action: Posted, service: TheService) -> Response:
    """Have the workers process every dead event again."""
    action.caller.check_everywhere(Scope.ADMIN)

    async def work() -> str:
        reason = action.form.text("reason", label="Reason")
        events = await service.parts.bookings.replay_dead(action.caller.key_id, reason)
        service.nudges.send(SETTLE)
        return f"Replaying {count_words(events, 'dead event')}."

    return await outcome(request, "/ops/inbox", work(), action.form)


async def _hooks(request: Request, service: Service) -> list[HookHealth]:
    """Return how the webhooks of each workspace do."""
    recent = await service.parts.ledger.inbox.list(None, limit=_RECENT)
    asked = await service.parts.ledger.facts.beginning_with(RECONCILED)
    base = f"{request.url.scheme}://{request.headers.get('host', '')}"
    found = []
    for name, provider in service.parts.providers.items():
        received = [
            each.received_at
            for each in recent
            if each.source == "webhook" and each.workspace == name
        ]
        text = asked.get(name)
        found.append(
            HookHealth(
                name,
                base + url(f"/v1/webhooks/{name}"),
                provider.can_verify,
                max(received, default=None),
                datetime.fromisoformat(text) if text else None,
            )
        )
    return found


async def _refused(service: Service) -> int | None:
    """Return how many webhooks had a wrong signature in the last hour; None: not known."""
    try:
        [past] = await service.parts.store.tallies.past([EVERYWHERE], Span.HOUR)
    except StoreError:
        return None
    return past.sum["bad_signature"]


def _may_act(session: Session) -> bool:
    # As in the API: an event may turn out to be about any meeting.
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
