"""List, replay and assign events of the webhook inbox: `linkpool events`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pool.cli.common import (
    ACTOR,
    NOT_FOUND,
    AsJson,
    DataDir,
    ReasonOption,
    fail,
    on_parts,
    settings_for,
)
from pool.cli.printing import moment, print_json, print_record, print_views
from pool.ledger.records import EventState, InboxEvent

app = typer.Typer(
    help="Bookings as the provider reported them by webhook, and what became of each.",
    no_args_is_help=True,
)

_WORDS = {
    EventState.PENDING: "not processed yet",
    EventState.SETTLED: "done",
    EventState.UNMATCHED: "we could not match this booking to a link",
    EventState.IGNORED: "of a kind that concerns no link",
    EventState.DEAD: "failed too often; `linkpool events replay` tries again",
}

EventId = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_events(
    state: Annotated[
        EventState | None,
        typer.Option(
            help="Only events in this state. Unmatched: bookings we could not match to a link; "
            "dead: failed too often."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List events with their outcomes, the newest first."""
    events = on_parts(
        settings_for(data_dir), lambda parts: parts.ledger.inbox.list(state, limit=limit)
    )
    columns = ["id", "state", "event", "received_at", "match", "workspace", "why"]
    print_views("Events", columns, [_view(event) for event in events], as_json=as_json)


@app.command("show")
def show(event_id: EventId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show one event and its outcome, without its booker's words."""
    event = on_parts(settings_for(data_dir), lambda parts: parts.ledger.inbox.get(event_id))
    if event is None:
        fail(f"there is no event {event_id}; `linkpool events list` lists them", NOT_FOUND)
    view = _view(event) | {
        "source": event.source,
        "booking_sid": event.booking_sid,
        "meeting_sid": event.meeting_sid,
        "slug": event.slug,
        "last_error": event.last_error,
        "settled_at": moment(event.settled_at),
    }
    if as_json:
        print_json(view)
    else:
        print_record(view | {"state": f"{event.state}: {_WORDS[event.state]}"})


@app.command()
def replay(
    event_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that failed too often.")] = False,
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Process an event again now, or have the workers process all dead events again."""
    if dead == (event_id is not None):
        raise typer.BadParameter("give the id of an event, or --dead for all dead events")
    settings = settings_for(data_dir)
    if event_id is not None:
        _say(on_parts(settings, lambda parts: parts.bookings.replay(event_id, ACTOR, reason)))
    else:
        count = on_parts(settings, lambda parts: parts.bookings.replay_dead(ACTOR, reason))
        sys.stdout.write(f"dead events to be processed again: {count}\n")


@app.command()
def assign(
    event_id: EventId,
    slug: Annotated[str, typer.Argument(help="The link that the booking used.")],
    reason: ReasonOption = "",
    data_dir: DataDir = None,
) -> None:
    """Assign a booking that we could not match to the link that it used."""
    settings = settings_for(data_dir)
    _say(on_parts(settings, lambda parts: parts.bookings.assign(event_id, slug, ACTOR, reason)))


def _say(event: InboxEvent) -> None:
    sys.stdout.write(
        f"{event.id} is {event.state.value}{': ' + event.reason if event.reason else ''}\n"
    )


def _view(event: InboxEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "received_at": moment(event.received_at),
        "workspace": event.workspace,
        "event": event.event,
        "state": event.state.value,
        "match": event.match,
        "why": event.reason or event.last_error or "",
        "attempts": event.attempts,
        "seen": event.seen,
    }
