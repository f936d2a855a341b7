"""Show the inbox: booking events, searched and filtered, and replay many of them at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request, Response

from pool.access.api_keys import Scope
from pool.api.http.mount import redirect_to
from pool.api.ops.actions.hooks import addresses
from pool.api.ops.frame.outcome import outcome
from pool.api.ops.frame.rendering import render
from pool.api.ops.frame.routing import views
from pool.api.ops.pages.event import may_act_on_events
from pool.api.ops.session.forms import Form, Posted, check_csrf, form_of
from pool.api.ops.session.sessions import Session, SignedIn
from pool.api.ops.state import Ops
from pool.api.routes.access import TheService
from pool.api.service import Service
from pool.errors import InvalidRequest
from pool.ledger.inbox_search import REPLAY_MOST, Named, Sought
from pool.ledger.records import EventState
from pool.model.links import CUSTOMER_ID_MAX_CHARACTERS
from pool.model.times import from_ms
from pool.nudges import SETTLE
from pool.operations.inbox_selection import WITHIN, InboxSelection
from pool.operations.words import count_words

router = views()

INBOX = "/ops/inbox"
_PICK = "pick-"  # before an event's id, in the name of its box


@router.get(INBOX)
async def inbox(
    request: Request,
    session: SignedIn,
    service: TheService,
    state: EventState | None = None,  # noqa: ARG001 - another one is refused
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,  # noqa: ARG001 - the same
) -> Response:
    """Show the events of a selection, the newest first."""
    return await _page(request, session, service, InboxSelection.of(request.url.query))


@router.post(INBOX)
async def search(request: Request, session: SignedIn, service: TheService) -> Response:
    """Find what a text names, and lead to the events about it.

    The form is posted, though it changes nothing: a customer id or an e-mail must not be in an
    address, which proxies log and browsers remember.
    """
    form = await form_of(request)
    check_csrf(request, session, form)
    text = form.text("asked", label="Search", max_characters=CUSTOMER_ID_MAX_CHARACTERS)
    selection = InboxSelection.of(form.fields.get("query", ""))
    named = await _named(service, session, text) if text else None
    return redirect_to(selection.address(INBOX, named=named, page=1))


@router.post("/ops/inbox/replay")
async def replay(request: Request, action: Posted, service: TheService) -> Response:
    """Have the workers process again the events that were picked, or all of the selection."""
    action.caller.check_everywhere(Scope.ADMIN)
    ops: Ops = request.app.state.ops
    form = action.form
    selection = InboxSelection.of(form.fields.get("query", ""))

    async def work() -> str:
        if form.fields.get("which") == "all":
            sought, about = await _all_of(service, selection, form)
        else:
            sought, about = _picked(form)
        reason = action.reason
        bookings = service.parts.bookings
        events = await bookings.replay_found(sought, action.caller.key_id, reason, about)
        service.nudges.send(SETTLE)
        ops.inbox_boards.forget()
        if not events:
            return "Nothing was replayed: no event of these is kept whole any more."
        return f"Replaying {count_words(events, 'event')}. Their states follow within seconds."

    return await outcome(request, selection.address(INBOX), work(), form)


@router.post("/ops/inbox/replay-dead")
async def replay_dead(request: Request, action: Posted, service: TheService) -> Response:
    """Have the workers process every dead event again."""
    action.caller.check_everywhere(Scope.ADMIN)
    ops: Ops = request.app.state.ops

    async def work() -> str:
        reason = action.form.text("reason", label="Reason")
        events = await service.parts.bookings.replay_dead(action.caller.key_id, reason)
        service.nudges.send(SETTLE)
        ops.inbox_boards.forget()
        return f"Replaying {count_words(events, 'dead event')}."

    return await outcome(request, INBOX, work(), action.form)


async def _page(
    request: Request, session: Session, service: Service, selection: InboxSelection
) -> Response:
    ops: Ops = request.app.state.ops
    everywhere = session.caller.meetings is None
    found = await ops.inbox_boards.read(selection, session)
    return render(
        request,
        "inbox.html",
        session,
        title="Inbox",
        found=found,
        selection=selection,
        kinds=await service.parts.ledger.inbox_search.kinds(),
        workspaces=list(service.settings.workspaces),
        windows=list(WITHIN),
        hooks=addresses(request, service) if everywhere else [],
        configured=bool(service.settings.public_url),
        may_replay=may_act_on_events(session),
        stream=selection.address("/ops/stream", view="inbox"),
        shown_until_ms=round(datetime.now(UTC).timestamp() * 1000),
    )


async def _named(service: Service, session: Session, text: str) -> Named:
    names = service.parts.store.names
    sids = [each.sid for each in service.known_meetings.all() if session.sees(each.sid)]
    is_email = "@" in text
    return await service.parts.ledger.inbox_search.named(
        text,
        sids,
        email_key=names.email_name(text) if is_email else "",
        email_mark=names.marks.of_email(text) if is_email else "",
    )


async def _all_of(
    service: Service, selection: InboxSelection, form: Form
) -> tuple[Sought, dict[str, object]]:
    """Return all events of a selection, but for those that came after the page was shown."""
    until = form.text("until", label="Time", max_characters=16)
    if not (until.isascii() and until.isdigit() and len(until) < 14):
        raise InvalidRequest("this form is from another page; reload it and try again")
    sought = selection.sought(datetime.now(UTC)).before(from_ms(int(until)))
    events = await service.parts.ledger.inbox_search.count(sought, None, most=REPLAY_MOST)
    if events > REPLAY_MOST:
        raise InvalidRequest(
            f"over {REPLAY_MOST:,} events match, and one replay takes that many at most; "
            "narrow them down, by time for example"
        )
    return sought, selection.words or {"which": "all events"}


def _picked(form: Form) -> tuple[Sought, dict[str, object]]:
    ids = [name.removeprefix(_PICK) for name in form.fields if name.startswith(_PICK)]
    if not ids:
        raise InvalidRequest("choose events by the boxes before them")
    return Sought(named=Named(event_ids=tuple(ids))), {"which": "chosen one by one"}
